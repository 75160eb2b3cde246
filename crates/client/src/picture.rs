//! A group's picture out of a file that somebody has: decoded within bounds, turned as its camera meant it, cut to a square, made small, and
//! written anew, so that nothing of the file itself leaves the machine, least of all where it was taken.
//!
//! What comes out is what `content` takes for a picture. Pure: bytes in, bytes out.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Rgb, RgbImage};

/// The largest file that is looked at, in bytes.
pub const MAX_FILE: u64 = 32 * 1024 * 1024;
/// The largest width and height that are decoded, in pixels.
const MAX_DECODED: u32 = 12_000;
/// Memory that decoding may take, in bytes.
const MAX_MEMORY: u64 = 768 * 1024 * 1024;
/// JPEG qualities that are tried, until the picture is small enough to be sent.
const QUALITIES: [u8; 5] = [85, 75, 60, 40, 20];

/// Why a file can't become a group's picture. The person's fault, or that of who made the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// A file of a kind that is not decoded: SVG, GIF and everything else.
    #[error("It is no JPEG, PNG or WebP file")]
    Kind,
    /// It says that it is one, and is not.
    #[error("It is damaged")]
    Damaged,
    /// More bytes or pixels than anybody needs for this, or more memory than decoding may take.
    #[error("It is too large: at most 32 MiB and 12,000 pixels each way are looked at")]
    TooLarge,
}

/// The picture that a group is shown with, out of a JPEG, PNG or WebP file: a square JPEG of at most 640 pixels, without anything else that
/// the file held.
pub fn prepare(file: &[u8]) -> Result<Vec<u8>, PictureError> {
    if file.len() as u64 > MAX_FILE {
        return Err(PictureError::TooLarge);
    }
    let picture = decode(file)?;
    let side = picture.width().min(picture.height());
    let (left, top) = ((picture.width() - side) / 2, (picture.height() - side) / 2);
    let square = picture.crop_imm(left, top, side, side);
    let most = u32::from(content::picture::MAX_SIDE);
    let square = if side > most { square.resize_exact(most, most, FilterType::Triangle) } else { square };
    let square = on_white(&square);
    for quality in QUALITIES {
        let mut out = Vec::new();
        JpegEncoder::new_with_quality(&mut out, quality).encode_image(&square).map_err(|_| PictureError::Damaged)?;
        if out.len() <= content::picture::MAX_PICTURE {
            return Ok(out);
        }
    }
    Err(PictureError::TooLarge)
}

fn decode(file: &[u8]) -> Result<DynamicImage, PictureError> {
    let kind = image::guess_format(file).map_err(|_| PictureError::Kind)?;
    if !matches!(kind, ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP) {
        return Err(PictureError::Kind);
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_DECODED);
    limits.max_image_height = Some(MAX_DECODED);
    limits.max_alloc = Some(MAX_MEMORY);
    let mut reader = ImageReader::with_format(Cursor::new(file), kind);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder().map_err(|error| said(&error))?;
    // Before anything is allocated: what the header says is what decoding takes.
    let (width, height) = decoder.dimensions();
    if width > MAX_DECODED || height > MAX_DECODED || decoder.total_bytes() > MAX_MEMORY {
        return Err(PictureError::TooLarge);
    }
    let turned = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|error| said(&error))?;
    picture.apply_orientation(turned);
    if picture.width() == 0 || picture.height() == 0 {
        return Err(PictureError::Damaged);
    }
    Ok(picture)
}

fn said(error: &image::ImageError) -> PictureError {
    match error {
        image::ImageError::Limits(_) => PictureError::TooLarge,
        _ => PictureError::Damaged,
    }
}

/// Without transparency, which JPEG does not have.
fn on_white(picture: &DynamicImage) -> RgbImage {
    let with_alpha = picture.to_rgba8();
    RgbImage::from_fn(with_alpha.width(), with_alpha.height(), |x, y| {
        let [r, g, b, alpha] = with_alpha.get_pixel(x, y).0;
        let over = |colour: u8| {
            let (colour, alpha) = (u32::from(colour), u32::from(alpha));
            u8::try_from((colour * alpha + 255 * (255 - alpha)) / 255).unwrap_or(u8::MAX)
        };
        Rgb([over(r), over(g), over(b)])
    })
}

#[cfg(test)]
mod tests {
    use image::{ImageEncoder as _, Rgba, RgbaImage};

    use super::*;

    fn encoded(picture: &DynamicImage, kind: ImageFormat) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        picture.write_to(&mut out, kind).unwrap();
        out.into_inner()
    }

    fn prepared(file: &[u8]) -> RgbImage {
        let picture = prepare(file).unwrap();
        assert!(content::picture::check(&picture).is_ok(), "what is made is what is taken");
        image::load_from_memory(&picture).unwrap().to_rgb8()
    }

    fn near(pixel: &Rgb<u8>, wanted: [u8; 3]) -> bool {
        pixel.0.iter().zip(wanted).all(|(is, wanted)| is.abs_diff(wanted) < 24)
    }

    #[test]
    fn jpeg_png_and_webp_become_small_squares() {
        let wide = DynamicImage::ImageRgb8(RgbImage::from_fn(1_500, 900, |x, _| {
            if (300..1_200).contains(&x) { Rgb([200, 30, 30]) } else { Rgb([0, 0, 0]) }
        }));
        for kind in [ImageFormat::Jpeg, ImageFormat::Png, ImageFormat::WebP] {
            let square = prepared(&encoded(&wide, kind));
            assert_eq!(square.dimensions(), (640, 640), "{kind:?}");
            // The middle of it, all of the coloured part.
            assert!(
                [(8, 8), (320, 320), (631, 631)].iter().all(|(x, y)| near(square.get_pixel(*x, *y), [200, 30, 30]))
            );
        }
        let small = DynamicImage::ImageRgb8(RgbImage::from_pixel(48, 64, Rgb([10, 200, 90])));
        assert_eq!(prepared(&encoded(&small, ImageFormat::Png)).dimensions(), (48, 48));
        let clear = DynamicImage::ImageRgba8(RgbaImage::from_pixel(20, 20, Rgba([0, 0, 0, 0])));
        assert!(near(prepared(&encoded(&clear, ImageFormat::Png)).get_pixel(10, 10), [255, 255, 255]));
    }

    #[test]
    fn noise_is_made_to_fit() {
        let mut seed = 1_u32;
        let noise = RgbImage::from_fn(700, 700, |_, _| {
            let mut next = || {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as u8
            };
            Rgb([next(), next(), next()])
        });
        let picture = prepare(&encoded(&DynamicImage::ImageRgb8(noise), ImageFormat::Png)).unwrap();
        assert!(content::picture::check(&picture).is_ok(), "{} bytes", picture.len());
    }

    /// A JPEG with what a camera writes: that it is to be turned, and where it was taken.
    fn from_a_camera() -> Vec<u8> {
        let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x02".to_vec();
        exif.extend([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0]);
        exif.extend([0x01, 0x0e, 0, 2, 0, 0, 0, 16, 0, 0, 0, 38, 0, 0, 0, 0]);
        exif.extend(b"52.5200 13.4050\0");
        let left = RgbImage::from_fn(64, 64, |x, _| if x < 32 { Rgb([220, 20, 20]) } else { Rgb([20, 20, 220]) });
        let mut plain = Vec::new();
        JpegEncoder::new_with_quality(&mut plain, 95)
            .write_image(&left, 64, 64, image::ExtendedColorType::Rgb8)
            .unwrap();
        let mut file = vec![0xff, 0xd8, 0xff, 0xe1];
        file.extend((exif.len() as u16 + 2).to_be_bytes());
        file.extend(exif);
        file.extend(&plain[2..]);
        file
    }

    #[test]
    fn nothing_of_what_a_camera_writes_is_left_but_its_being_turned() {
        let file = from_a_camera();
        let holds = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
        assert!(holds(&file, b"52.5200") && holds(&file, b"Exif"));
        let picture = prepare(&file).unwrap();
        assert!(!holds(&picture, b"52.5200") && !holds(&picture, b"Exif"));
        // Turned to the right by a quarter: what was left is above.
        let shown = prepared(&file);
        assert!(near(shown.get_pixel(32, 8), [220, 20, 20]) && near(shown.get_pixel(32, 56), [20, 20, 220]));
    }

    #[test]
    fn other_kinds_are_refused_with_those_that_are_taken() {
        for other in [
            &b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>"[..],
            b"<?xml version=\"1.0\"?><svg/>",
            b"GIF89a\x01\0\x01\0\0\0\0;",
            b"BM",
            b"",
        ] {
            assert_eq!(prepare(other), Err(PictureError::Kind));
        }
        assert!(PictureError::Kind.to_string().contains("JPEG, PNG or WebP"));
    }

    #[test]
    fn i9_bombs_and_damage_are_refused_before_they_cost_anything() {
        // A PNG of some hundred bytes that says it is 60,000 pixels each way.
        let mut bomb = encoded(&DynamicImage::ImageRgb8(RgbImage::from_pixel(1, 1, Rgb([0, 0, 0]))), ImageFormat::Png);
        bomb[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
        let crc = crc(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&crc.to_be_bytes());
        assert_eq!(prepare(&bomb), Err(PictureError::TooLarge));
        let whole = encoded(&DynamicImage::ImageRgb8(RgbImage::from_pixel(90, 90, Rgb([1, 2, 3]))), ImageFormat::Png);
        // Behind the last pixel nothing is missed.
        for cut in (9..whole.len() / 2).step_by(7) {
            assert!(prepare(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let camera = from_a_camera();
        for at in (2..camera.len()).step_by(5) {
            let mut altered = camera.clone();
            altered[at] ^= 0x55;
            if let Ok(picture) = prepare(&altered) {
                assert!(content::picture::check(&picture).is_ok());
            }
        }
        assert_eq!(prepare(&vec![0xff; MAX_FILE as usize + 1]), Err(PictureError::TooLarge));
    }

    /// CRC of a PNG chunk (ISO 3309).
    fn crc(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
        })
    }
}
