//! What a camera in front of a terminal makes of a QR code.

/// How many pixels of the picture a module has on each side.
const MODULE: usize = 4;

/// The part of a line between explicit colours, black (16) on white (231) of the fixed part of the palette; `None` if it has none.
pub fn drawn(line: &str) -> Option<&str> {
    line.strip_prefix("\u{1b}[38;5;16;48;5;231m")?.strip_suffix("\u{1b}[0m")
}

/// Reads the only code in the picture that these lines show; they are what [`drawn`] gave.
pub fn read(lines: &[&str]) -> String {
    let rows: Vec<Vec<bool>> = lines
        .iter()
        .flat_map(|line| ['▀', '▄'].map(|half| line.chars().map(|c| c == '█' || c == half).collect()))
        .collect();
    let (width, height) = (rows[0].len() * MODULE, rows.len() * MODULE);
    let shade = |x: usize, y: usize| if rows[y / MODULE][x / MODULE] { 0 } else { 255 };
    let mut picture = rqrr::PreparedImage::prepare_from_greyscale(width, height, shade);
    let codes = picture.detect_grids();
    assert_eq!(codes.len(), 1);
    codes[0].decode().unwrap().1
}
