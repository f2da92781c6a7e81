//! A two-dimensional FIR filter: an image convolved with a 5x5 binomial (Gaussian-like) mask in fixed point.

use super::Rounds;
use crate::task::mix::{SplitMix, digest};

/// Rows and columns of the image.
const N: usize = 96;

/// Rows and columns of the mask.
const TAPS: usize = 5;

/// Row 4 of Pascal's triangle; the mask is its product with itself, and its sum is 2^8.
const BINOMIAL: [i32; TAPS] = [1, 4, 6, 4, 1];

/// Fractional bits of the mask.
const FRACTION: u32 = 8;

/// An image with a border of zeros, row after row.
type Image = [[i32; N + TAPS - 1]; N + TAPS - 1];

/// One round filters the image; the result, disturbed by its checksum, is the next image.
pub(crate) struct Fir2d {
    image: Box<Image>,
}

impl Rounds for Fir2d {
    fn new(seed: u64) -> Self {
        let mut kernel = Self {
            image: Box::new([[0; _]; _]),
        };
        kernel.disturb(&[[0; N]; N], seed);
        kernel
    }

    fn round(&mut self) -> u64 {
        let filtered = filter(&self.image, &mask());
        let checksum = digest(filtered.iter().flatten().map(|&pixel| pixel as u64));
        self.disturb(&filtered, checksum);
        checksum
    }
}

impl Fir2d {
    /// Puts an image with noise inside the border: smoothing alone would level it. Pixels stay within 16 signed bits.
    fn disturb(&mut self, image: &[[i32; N]; N], seed: u64) {
        let mut noise = SplitMix::new(seed);
        for (inner, row) in self.image[TAPS / 2..].iter_mut().zip(image) {
            for (inner, &pixel) in inner[TAPS / 2..].iter_mut().zip(row) {
                *inner = i32::from((pixel as i16).wrapping_add(noise.next() as i16));
            }
        }
    }
}

/// The 5x5 mask.
fn mask() -> [[i32; TAPS]; TAPS] {
    BINOMIAL.map(|down| BINOMIAL.map(|across| down * across))
}

/// Every inner pixel becomes the mean of its surroundings, weighted by the mask and rounded.
fn filter(image: &Image, mask: &[[i32; TAPS]; TAPS]) -> [[i32; N]; N] {
    let mut sums = [[1 << (FRACTION - 1); N]; N];
    for (y, sums) in sums.iter_mut().enumerate() {
        for (row, weights) in image[y..].iter().zip(mask) {
            // Whole rows are added, so that the innermost loop runs along memory and vectorises.
            for (x, &weight) in weights.iter().enumerate() {
                for (sum, &pixel) in sums.iter_mut().zip(&row[x..]) {
                    *sum += weight * pixel;
                }
            }
        }
        for sum in sums {
            *sum >>= FRACTION;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Straight from the definition, in floating point.
    fn naive(image: &Image, mask: &[[i32; TAPS]; TAPS], y: usize, x: usize) -> i32 {
        let mut sum = 0.0;
        for (v, weights) in mask.iter().enumerate() {
            for (u, &weight) in weights.iter().enumerate() {
                sum += f64::from(weight) * f64::from(image[y + v][x + u]);
            }
        }
        (sum / 256.0 + 0.5).floor() as i32
    }

    #[test]
    fn agrees_with_the_definition() {
        let mut kernel = Fir2d::new(1);
        // Not symmetric, so that a mirrored mask would show.
        let skewed = std::array::from_fn(|v| std::array::from_fn(|u| (7 * v + u) as i32 - 9));
        for mask in [mask(), skewed] {
            kernel.round();
            let filtered = filter(&kernel.image, &mask);
            for (y, row) in filtered.iter().enumerate() {
                for (x, &pixel) in row.iter().enumerate() {
                    assert_eq!(pixel, naive(&kernel.image, &mask, y, x), "{y}, {x}");
                }
            }
        }
    }

    #[test]
    fn a_point_becomes_the_mask_and_a_flat_image_stays() {
        let mut image: Box<Image> = Box::new([[0; _]; _]);
        image[10][20] = 256;
        let filtered = filter(&image, &mask());
        assert_eq!(filtered[8][18], 36);
        assert_eq!(
            filtered[6..11].iter().map(|row| row[16]).collect::<Vec<_>>(),
            [1, 4, 6, 4, 1]
        );
        let flat = filter(&[[777; _]; _], &mask());
        assert!(flat.iter().flatten().all(|&pixel| pixel == 777));
    }

    #[test]
    fn a_long_chain_stays_lively() {
        let mut kernel = Fir2d::new(2);
        for _ in 0..30 {
            kernel.round();
        }
        let pixels = kernel.image.iter().flatten();
        assert!(pixels.filter(|pixel| pixel.abs() > 10_000).count() > N * N / 4);
    }
}
