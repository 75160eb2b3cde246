//! A text as a QR code (ISO/IEC 18004) in the characters of a terminal, two modules a character: for a camera, beside the text.

use qrcode::{Color, EcLevel, QrCode};

/// Light modules that a reader needs around the code, on each side (ISO/IEC 18004, section 9.1).
const QUIET: usize = 4;
/// Black on white, whatever the terminal's own colours are, out of the part of the palette that themes leave alone.
const INK: &str = "\u{1b}[38;5;16;48;5;231m";
const END: &str = "\u{1b}[0m";

/// The lines that draw `text`, at most `width` columns wide; `None` if it doesn't fit there.
pub fn draw(text: &str, width: usize) -> Option<Vec<String>> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M).ok()?;
    let side = code.width();
    let whole = side + 2 * QUIET;
    if whole > width {
        return None;
    }
    let modules = code.to_colors();
    let is_dark = |x: usize, y: usize| {
        let (x, y) = (x.checked_sub(QUIET), y.checked_sub(QUIET));
        let at = x.zip(y).filter(|(x, y)| *x < side && *y < side).map(|(x, y)| y * side + x);
        at.and_then(|at| modules.get(at)) == Some(&Color::Dark)
    };
    let line = |y: usize| {
        let half = |x| match (is_dark(x, y), is_dark(x, y + 1)) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        };
        format!("{INK}{}{END}", (0..whole).map(half).collect::<String>())
    };
    Some((0..whole).step_by(2).map(line).collect())
}

#[cfg(test)]
#[path = "../tests/it/camera.rs"]
mod camera;

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(lines: &[String]) -> Vec<&str> {
        lines.iter().map(|line| camera::drawn(line).expect("colours are set")).collect()
    }

    #[test]
    fn a_camera_reads_what_was_drawn() {
        for text in ["a", "relay.example/qrst-uvwx-yzab-cdef", &"relay.example:8443/".repeat(20)] {
            assert_eq!(camera::read(&picture(&draw(text, 200).unwrap())), text);
        }
    }

    #[test]
    fn what_would_not_fit_is_not_drawn() {
        let lines = draw("relay.example/abcd", 80).unwrap();
        let width = picture(&lines)[0].chars().count();
        assert!(draw("relay.example/abcd", width).is_some());
        assert_eq!(draw("relay.example/abcd", width - 1), None);
        assert_eq!(draw(&"a".repeat(5_000), 10_000), None);
    }
}
