//! Bar charts as SVG: a figure of each gateway, grouped by case.

use std::fmt::Write as _;

/// Bars that belong together.
#[derive(Clone, Debug)]
pub struct Group {
    /// What they have in common.
    pub label: String,
    /// Label and value of each, from the top.
    pub bars: Vec<(String, f64)>,
}

const WIDTH: usize = 760;
const LEFT: usize = 210;
const RIGHT: usize = 90;
const TOP: usize = 34;
const BAR: usize = 16;
const STEP: usize = 21;
const GROUP_HEAD: usize = 24;
const GROUP_GAP: usize = 10;

/// Readable on light and on dark pages.
const STYLE: &str = "text{font:12px sans-serif;fill:#24292f}.t{font-weight:bold;font-size:14px}.g{font-weight:bold}\
                     .b{fill:#8c959f}.o{fill:#0969da}\
                     @media(prefers-color-scheme:dark){text{fill:#e6edf3}.b{fill:#6e7681}.o{fill:#58a6ff}}";

/// Draws `groups` on one scale; bars whose label begins with `ours` stand out.
pub fn bars(title: &str, groups: &[Group], ours: &str, show: impl Fn(f64) -> String) -> String {
    let most = groups.iter().flat_map(|g| &g.bars).map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let height: usize = TOP + groups.iter().map(|g| GROUP_HEAD + g.bars.len() * STEP + GROUP_GAP).sum::<usize>();
    // Writing to a String cannot fail.
    let mut svg = String::new();
    let _ = writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img"><style>{STYLE}</style>"#
    );
    let _ = writeln!(svg, r#"<title>{0}</title><text class="t" x="8" y="20">{0}</text>"#, escaped(title));
    let mut y = TOP;
    for group in groups {
        let _ = writeln!(svg, r#"<text class="g" x="8" y="{}">{}</text>"#, y + 15, escaped(&group.label));
        y += GROUP_HEAD;
        for (label, value) in &group.bars {
            let length = value / most * (WIDTH - LEFT - RIGHT) as f64;
            let class = if label.starts_with(ours) { "o" } else { "b" };
            let text_y = y + 12;
            let _ = writeln!(
                svg,
                r#"<text x="{}" y="{text_y}" text-anchor="end">{}</text><rect class="{class}" x="{LEFT}" y="{y}" width="{length:.1}" height="{BAR}"/><text x="{:.1}" y="{text_y}">{}</text>"#,
                LEFT - 8,
                escaped(label),
                LEFT as f64 + length + 6.0,
                escaped(&show(*value)),
            );
            y += STEP;
        }
        y += GROUP_GAP;
    }
    svg += "</svg>\n";
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_the_scale_and_ours_stand_out() {
        let group = Group { label: "a & b".into(), bars: vec![("eyotd".into(), 5.0), ("other".into(), 10.0)] };
        let svg = bars("rates", &[group], "eyotd", |value| format!("{value:.0}/s"));
        assert!(svg.contains(r#"class="o" x="210" y="58" width="230.0""#), "{svg}");
        assert!(svg.contains(r#"class="b" x="210" y="79" width="460.0""#), "{svg}");
        assert!(svg.contains("a &amp; b") && svg.contains(">10/s<") && svg.ends_with("</svg>\n"), "{svg}");
    }
}
