//! How probable a figure is by chance alone: Student's t, and the exact distribution of a share in one of two groups. Pure.

/// Terms of a sum or a continued fraction at the most.
const TERMS: u32 = 100_000;

/// What is smaller adds nothing to a double.
const TINY: f64 = 1e-300;

/// The probability that Student's t with so many degrees of freedom is at least so far from zero, on either side.
pub(super) fn t_beyond(t: f64, freedom: f64) -> f64 {
    if !t.is_finite() {
        return 0.0;
    }
    incomplete_beta(freedom / 2.0, 0.5, freedom / (t * t + freedom)).clamp(0.0, 1.0)
}

/// The probability, twice the smaller side of it, that of `all` marked ones among `small + large` at least (or at most) `marked`
/// are among the `small`: Fisher's exact test.
pub(super) fn share_beyond(marked: u64, small: u64, all: u64, large: u64) -> f64 {
    let total = small + large;
    let chance = |k: u64| (ln_choose(all, k) + ln_choose(total - all, small - k) - ln_choose(total, small)).exp();
    let (lowest, highest) = (small.saturating_sub(total - all), small.min(all));
    let side = |mut k: u64, up: bool| {
        let (mut sum, mut term) = (0.0, chance(k));
        for _ in 0..TERMS {
            sum += term;
            if (up && k == highest) || (!up && k == lowest) || term < sum * 1e-16 {
                break;
            }
            // The quotient of two neighbours is a fraction of whole numbers.
            let [k_, n, a, t] = [k, small, all, total].map(|number| number as f64);
            term *= if up {
                (a - k_) * (n - k_) / ((k_ + 1.0) * (t - a - n + k_ + 1.0))
            } else {
                k_ * (t - a - n + k_) / ((a - k_ + 1.0) * (n - k_ + 1.0))
            };
            k = if up { k + 1 } else { k - 1 };
        }
        sum
    };
    (2.0 * side(marked, true).min(side(marked, false))).min(1.0)
}

fn ln_choose(n: u64, k: u64) -> f64 {
    let [n, k] = [n, k].map(|number| number as f64);
    ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0)
}

/// Lanczos's approximation with g = 7, good to 15 digits for positive numbers.
/// Source: <https://en.wikipedia.org/wiki/Lanczos_approximation>.
fn ln_gamma(x: f64) -> f64 {
    const G: f64 = 7.0;
    const C: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    if x < 0.5 {
        let sine = (std::f64::consts::PI * x).sin();
        return (std::f64::consts::PI / sine).ln() - ln_gamma(1.0 - x);
    }
    let x = x - 1.0;
    let series = C.iter().enumerate().skip(1).fold(C[0], |sum, (at, c)| sum + c / (x + at as f64));
    let t = x + G + 0.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + series.ln()
}

/// The regularized incomplete beta function, by Lentz's method. Source: <https://dlmf.nist.gov/8.17#SS5.p1>.
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return if x <= 0.0 { 0.0 } else { 1.0 };
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (1.0 - x).ln()).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * fraction(a, b, x) / a
    } else {
        1.0 - front * fraction(b, a, 1.0 - x) / b
    }
}

fn fraction(a: f64, b: f64, x: f64) -> f64 {
    let full = |value: f64| if value.abs() < TINY { TINY } else { value };
    let (mut c, mut d) = (1.0, 1.0 / full(1.0 - (a + b) * x / (a + 1.0)));
    let mut found = d;
    for m in 1..TERMS {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        let mut change = 1.0;
        for step in [even, odd] {
            d = 1.0 / full(1.0 + step * d);
            c = full(1.0 + step / c);
            change = c * d;
            found *= change;
        }
        if (change - 1.0).abs() < 1e-15 {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed with SciPy 1.16: `2 * stats.t.sf(t, df)` and `stats.hypergeom.sf(k - 1, N, K, n)`.
    #[test]
    fn probabilities_are_those_of_the_tables() {
        for (t, freedom, expected) in
            [(2.228_138_85, 10.0, 0.05), (3.689_591_7, 27.0, 0.001), (0.0, 5.0, 1.0), (12.706_204_736, 1.0, 0.05)]
        {
            assert!((t_beyond(t, freedom) - expected).abs() < 1e-7, "{t} {freedom}: {}", t_beyond(t, freedom));
        }
        assert!(t_beyond(f64::INFINITY, 27.0) < 1e-300);
        // Fisher's tea: 4 of 4 cups right; once in 70.
        assert!((share_beyond(4, 4, 4, 4) - 2.0 / 70.0).abs() < 1e-12);
        assert!((share_beyond(0, 4, 4, 4) - 2.0 / 70.0).abs() < 1e-12);
        assert!((share_beyond(2, 4, 4, 4) - 1.0).abs() < 1e-12);
        assert!(share_beyond(70, 1_000, 630, 29_000) < 1e-10, "7 % instead of 2 %");
        assert!(share_beyond(21, 1_000, 581, 28_000) > 0.5, "2.1 % instead of 2 %");
    }
}
