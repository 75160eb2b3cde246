//! What may be a group's picture: a square JPEG (ITU-T T.81, in a JFIF file) of a bounded size, that holds a picture and nothing else.
//!
//! A file is looked at by its markers alone, and nothing is decoded, so that what somebody else has made costs nothing to refuse: neither
//! its size nor what it says beside the picture depends on the sender's program. Deliberately absent: making such a file of another one, which
//! takes decoders (`client::picture`).

/// The largest picture, in bytes.
pub const MAX_PICTURE: usize = 256 * 1024;
/// Its largest width and height, in pixels.
pub const MAX_SIDE: u16 = 640;

/// Why a file is no picture of a group. The fault of whoever made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// More bytes than [`MAX_PICTURE`].
    #[error("the picture is larger than 256 KiB")]
    TooLarge,
    /// Not a JPEG, or one that ends too early.
    #[error("the picture is not a whole JPEG")]
    NotJpeg,
    /// It has no square of at most [`MAX_SIDE`] pixels.
    #[error("the picture is not a square of at most 640 pixels")]
    Side,
    /// It says something beside the picture: where and when it was taken, with what, or comments.
    #[error("the file holds more than a picture")]
    Metadata,
}

const START: u8 = 0xd8;
const END: u8 = 0xd9;
const SCAN: u8 = 0xda;
const JFIF: u8 = 0xe0;

/// The side of the square, in pixels, of a file that may be a group's picture.
pub fn check(file: &[u8]) -> Result<u16, PictureError> {
    if file.len() > MAX_PICTURE {
        return Err(PictureError::TooLarge);
    }
    let mut rest = file.strip_prefix(&[0xff, START]).ok_or(PictureError::NotJpeg)?;
    let mut side = None;
    loop {
        let (marker, behind) = match rest {
            [0xff, marker, behind @ ..] => (*marker, behind),
            _ => return Err(PictureError::NotJpeg),
        };
        let (segment, behind) = segment(behind).ok_or(PictureError::NotJpeg)?;
        match marker {
            // Baseline and progressive frames (T.81, section B.2.2); one in a file.
            0xc0..=0xc2 if side.is_none() => side = Some(square(segment).ok_or(PictureError::Side)?),
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => return Err(PictureError::NotJpeg),
            // Huffman and quantisation tables, the restart interval.
            0xc4 | 0xdb | 0xdd => {}
            // JFIF's own header, as long as it brings no second picture.
            JFIF if segment.starts_with(b"JFIF\0") && segment.len() == 14 => {}
            0xe0..=0xef | 0xfe => return Err(PictureError::Metadata),
            SCAN => {
                rest = scan(behind).ok_or(PictureError::NotJpeg)?;
                match rest {
                    [0xff, END] => return side.ok_or(PictureError::NotJpeg),
                    // What stands behind the picture's end shows nowhere.
                    [0xff, END, ..] => return Err(PictureError::Metadata),
                    _ => continue,
                }
            }
            _ => return Err(PictureError::NotJpeg),
        }
        rest = behind;
    }
}

/// What a segment holds, and what stands behind it.
fn segment(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)).checked_sub(2)?)
}

/// The side that a frame's header tells, if it is one of a square.
fn square(header: &[u8]) -> Option<u16> {
    let [_, h1, h0, w1, w0, ..] = header else { return None };
    let (height, width) = (u16::from_be_bytes([*h1, *h0]), u16::from_be_bytes([*w1, *w0]));
    (height == width && (1..=MAX_SIDE).contains(&width)).then_some(width)
}

/// What stands behind the coded bytes of a scan: the next marker that is neither a stuffed byte nor a restart.
fn scan(bytes: &[u8]) -> Option<&[u8]> {
    let is_marker = |pair: &[u8]| matches!(pair, [0xff, marker] if !matches!(marker, 0x00 | 0xd0..=0xd7 | 0xff));
    let at = bytes.windows(2).position(is_marker)?;
    bytes.get(at..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(marker: u8, bytes: &[u8]) -> Vec<u8> {
        let mut part = vec![0xff, marker];
        part.extend((bytes.len() as u16 + 2).to_be_bytes());
        part.extend(bytes);
        part
    }

    fn frame(height: u16, width: u16) -> Vec<u8> {
        let [[h1, h0], [w1, w0]] = [height.to_be_bytes(), width.to_be_bytes()];
        part(0xc0, &[8, h1, h0, w1, w0, 1, 1, 0x11, 0])
    }

    fn file(parts: &[Vec<u8>]) -> Vec<u8> {
        let scan = [part(SCAN, &[1, 1, 0, 0, 63, 0]), vec![1, 2, 0xff, 0, 3, 0xff, 0xd0, 4], vec![0xff, END]].concat();
        [vec![0xff, START], parts.concat(), scan].concat()
    }

    fn jfif() -> Vec<u8> {
        part(JFIF, b"JFIF\0\x01\x02\0\0\x01\0\x01\0\0")
    }

    #[test]
    fn a_square_of_at_most_640_pixels_is_taken() {
        assert_eq!(check(&file(&[jfif(), part(0xdb, &[0; 65]), frame(640, 640), part(0xc4, &[0; 20])])), Ok(640));
        assert_eq!(check(&file(&[frame(1, 1)])), Ok(1));
        for (height, width) in [(641, 641), (640, 639), (0, 0), (65_535, 65_535)] {
            assert_eq!(check(&file(&[jfif(), frame(height, width)])), Err(PictureError::Side));
        }
        assert_eq!(check(&vec![0xff; MAX_PICTURE + 1]), Err(PictureError::TooLarge));
    }

    #[test]
    fn whatever_says_more_than_a_picture_is_refused() {
        let exif = part(0xe1, b"Exif\0\0II*\0GPS 52.5200 13.4050");
        let comment = part(0xfe, b"made by somebody");
        let thumbnail = part(JFIF, b"JFIF\0\x01\x02\0\0\x01\0\x01\x01\x01abc");
        for more in [exif, comment, thumbnail, part(0xe2, b"ICC_PROFILE\0"), part(0xed, b"Photoshop 3.0\0")] {
            assert_eq!(check(&file(&[jfif(), more, frame(9, 9)])), Err(PictureError::Metadata));
        }
        let mut behind = file(&[frame(9, 9)]);
        behind.extend(b"and a secret");
        assert_eq!(check(&behind), Err(PictureError::Metadata));
    }

    #[test]
    fn i9_nothing_cut_off_or_altered_panics_and_nothing_else_passes() {
        let good = file(&[jfif(), part(0xdb, &[7; 65]), frame(64, 64)]);
        assert_eq!(check(&good), Ok(64));
        for cut in 0..good.len() {
            assert!(check(&good[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..good.len() {
            for byte in [0, 1, 0x7f, 0xc0, 0xd9, 0xff] {
                let mut altered = good.clone();
                altered[at] = byte;
                let _ = check(&altered);
            }
        }
        for other in
            [&b"<svg xmlns='http://www.w3.org/2000/svg'/>"[..], b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF....WEBP", b""]
        {
            assert_eq!(check(other), Err(PictureError::NotJpeg));
        }
        // Two frames, of which one program might look at the first and another one at the second.
        assert_eq!(check(&file(&[frame(9, 9), frame(60_000, 60_000)])), Err(PictureError::NotJpeg));
    }

    proptest::proptest! {
        #[test]
        fn i9_any_bytes_are_looked_at_without_a_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
            let _ = check(&bytes);
            let _ = check(&[&[0xff, START][..], &bytes].concat());
        }
    }
}
