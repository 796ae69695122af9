//! Pictures in, smaller (or larger) pictures out. Knows nothing of HTTP but the status of each error.

use std::io::Cursor;

use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

/// The longest side of an answer, in pixels: with it, resizing stays within the manifest's memory limit.
const MAX_SIDE: u32 = 2048;

/// The largest decoded picture in bytes: 16 megapixels of RGB, and no more than a quarter of the memory limit,
/// because decoding and resizing need copies of their own.
const MAX_DECODED: u64 = 48 << 20;

/// What the caller asked for, in pixels.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Size {
    width: u32,
    /// Without it the picture is as high as its width makes it.
    height: Option<u32>,
}

/// Why there is no picture, and the HTTP status that says so.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

impl From<ImageError> for Refusal {
    fn from(error: ImageError) -> Self {
        Self::new(400, format!("could not decode the picture: {error}"))
    }
}

impl Size {
    /// Reads `w=320&h=200`; `h` may be missing.
    pub(crate) fn from_query(query: &str) -> Result<Self, Refusal> {
        let (mut width, mut height) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("w", value) => width = Some(side("w", value)?),
                ("h", value) => height = Some(side("h", value)?),
                (name, _) => {
                    return Err(Refusal::new(400, format!("unknown parameter '{name}'; use w and h")));
                }
            }
        }
        let width = width.ok_or_else(|| Refusal::new(400, "the width is missing; ask for /resize?w=320"))?;
        Ok(Self { width, height })
    }

    /// The size of the answer: the picture's ratio is kept, so with both sides given it fits inside them.
    fn of(&self, (width, height): (u32, u32)) -> Result<(u32, u32), Refusal> {
        let scaled = |from: u32, to: u32, other: u32| {
            let scaled = (u64::from(other) * u64::from(to) + u64::from(from) / 2) / u64::from(from);
            u32::try_from(scaled).unwrap_or(u32::MAX).max(1)
        };
        let by_width = (self.width, scaled(width, self.width, height));
        let result = match self.height {
            Some(limit) if by_width.1 > limit => (scaled(height, limit, width), limit),
            _ => by_width,
        };
        if result.0.max(result.1) > MAX_SIDE {
            let message =
                format!("that would be {} × {} pixels; a side is at most {MAX_SIDE}", result.0, result.1);
            return Err(Refusal::new(400, message));
        }
        Ok(result)
    }
}

/// Reads the length of one side.
fn side(name: &str, value: &str) -> Result<u32, Refusal> {
    let pixels = value.parse().ok().filter(|pixels| (1..=MAX_SIDE).contains(pixels));
    pixels.ok_or_else(|| {
        Refusal::new(400, format!("{name}={value} is not a number of pixels from 1 to {MAX_SIDE}"))
    })
}

/// Resizes a PNG or JPEG; the answer is a PNG.
pub(crate) fn resize(encoded: &[u8], size: &Size) -> Result<Vec<u8>, Refusal> {
    let picture = decode(encoded)?;
    let (width, height) = size.of((picture.width(), picture.height()))?;
    let resized = picture.resize_exact(width, height, FilterType::Lanczos3);
    drop(picture);
    let mut png = Cursor::new(Vec::new());
    resized
        .write_to(&mut png, ImageFormat::Png)
        .map_err(|error| Refusal::new(500, format!("could not write the PNG: {error}")))?;
    Ok(png.into_inner())
}

fn decode(encoded: &[u8]) -> Result<DynamicImage, Refusal> {
    let mut reader = ImageReader::new(Cursor::new(encoded))
        .with_guessed_format()
        .map_err(|error| Refusal::new(400, format!("could not read the picture: {error}")))?;
    if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg)) {
        return Err(Refusal::new(415, "the body is neither a PNG nor a JPEG"));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(2 * MAX_DECODED);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    if decoder.total_bytes() > MAX_DECODED {
        let (width, height) = decoder.dimensions();
        let message = format!(
            "{width} × {height} pixels are {} MiB when decoded; at most {} MiB are accepted",
            decoder.total_bytes() >> 20,
            MAX_DECODED >> 20
        );
        return Err(Refusal::new(400, message));
    }
    // Cameras store which way is up beside the pixels; the PNG would lose it.
    let orientation = decoder.orientation()?;
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(to_eight_bits(picture))
}

/// Sixteen bits a channel would double the answer and the work, and hardly a screen shows them.
fn to_eight_bits(picture: DynamicImage) -> DynamicImage {
    match picture {
        DynamicImage::ImageLuma16(_) => picture.into_luma8().into(),
        DynamicImage::ImageLumaA16(_) => picture.into_luma_alpha8().into(),
        DynamicImage::ImageRgb16(_) => picture.into_rgb8().into(),
        DynamicImage::ImageRgba16(_) => picture.into_rgba8().into(),
        eight_bits => eight_bits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(picture: impl Into<DynamicImage>) -> Vec<u8> {
        let mut encoded = Cursor::new(Vec::new());
        picture.into().write_to(&mut encoded, ImageFormat::Png).unwrap();
        encoded.into_inner()
    }

    fn sizes(query: &str, picture: (u32, u32)) -> Result<(u32, u32), u16> {
        Size::from_query(query).and_then(|size| size.of(picture)).map_err(|refusal| refusal.status)
    }

    #[test]
    fn keeps_the_ratio() {
        assert_eq!(sizes("w=320", (640, 480)), Ok((320, 240)));
        assert_eq!(sizes("w=320&h=120", (640, 480)), Ok((160, 120)));
        assert_eq!(sizes("h=2000&w=320", (640, 480)), Ok((320, 240)));
        assert_eq!(sizes("w=1", (2000, 1)), Ok((1, 1)));
    }

    #[test]
    fn refuses_sizes_out_of_bounds() {
        for query in ["", "w", "w=", "w=0", "w=-1", "w=2049", "w=9999999999", "h=1", "w=1&x=2"] {
            assert_eq!(sizes(query, (64, 64)), Err(400), "{query}");
        }
        assert_eq!(sizes("w=320", (100, 4000)), Err(400));
        assert_eq!(sizes("w=2048", (1, u32::MAX)), Err(400));
    }

    #[test]
    fn resizes_and_answers_in_eight_bits() {
        let source = image::ImageBuffer::from_pixel(40, 20, image::Rgb([65535_u16, 0, 0]));
        let answer = resize(&png(source), &Size { width: 10, height: None }).unwrap();
        let answer = image::load_from_memory(&answer).unwrap();
        assert_eq!(answer.to_rgb8(), *answer.as_rgb8().unwrap());
        assert_eq!((answer.width(), answer.height()), (10, 5));
        assert_eq!(answer.to_rgb8().get_pixel(5, 2).0, [255, 0, 0]);
    }

    #[test]
    fn refuses_what_is_no_picture() {
        let size = Size { width: 10, height: None };
        assert_eq!(resize(b"GIF89a", &size).unwrap_err().status, 415);
        let whole = png(image::RgbImage::new(64, 64));
        assert_eq!(resize(&whole[..whole.len() / 2], &size).unwrap_err().status, 400);
        let too_large = png(image::GrayImage::new(8192, 8192));
        let refusal = resize(&too_large, &size).unwrap_err();
        assert!(refusal.message.contains("64 MiB when decoded; at most 48"), "{}", refusal.message);
    }
}
