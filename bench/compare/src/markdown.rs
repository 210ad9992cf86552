//! The report as a page.

use std::fmt::Write;

use crate::Report;
use crate::figures::Row;
use crate::server::MANUAL;

/// The whole page.
pub fn page(report: &Report) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    _ = write(&mut page, report);
    page
}

fn write(page: &mut String, report: &Report) -> std::fmt::Result {
    let [java, ours] = &report.servers;
    let machine = &report.machine;
    writeln!(page, "# {} beside {}\n", ours.version, java.version)?;
    if report.quick {
        writeln!(page, "A quick run: it shows that everything runs, and says nothing about speed.\n")?;
    }
    writeln!(page, "{}, commit `{}`, {} rounds, figures are medians.\n", report.date, report.commit, report.rounds)?;
    writeln!(
        page,
        "**Machine.** {}, {} cores, {:.0} GiB, Linux {}; disk: {}. An append of 4 KiB with fdatasync took {:.0} µs before the run and \
         {:.0} µs after it (medians). The load generator runs on the same cores as the server.\n",
        machine.cpu,
        machine.cores,
        machine.memory as f64 / f64::from(1 << 30),
        machine.kernel,
        machine.disk,
        report.sync_us[0],
        report.sync_us[1]
    )?;
    writeln!(page, "**Command.** `{}`\n", report.command_line)?;
    writeln!(page, "## Bars\n")?;
    writeln!(page, "| bar | Java | Ringkeeper | measured | wanted | |\n|---|--:|--:|--:|--:|---|")?;
    for bar in &report.bars {
        writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} |",
            bar.bar,
            bar.java.map_or_else(String::new, number),
            number(bar.ringkeeper),
            number(bar.measured),
            bar.wanted(),
            bar.verdict()
        )?;
    }
    writeln!(page, "\n## Figures\n")?;
    writeln!(page, "Medians, with the least and the most of all rounds.\n")?;
    writeln!(page, "| case | measure | Java | Ringkeeper | Java ÷ Ringkeeper |\n|---|---|--:|--:|--:|")?;
    for row in &report.figures.rows {
        let [java, ours] = row.medians();
        writeln!(
            page,
            "| {} | {} | {} | {} | {} |",
            row.case,
            row.measure.words(),
            spread(java, &row.java),
            spread(ours, &row.ringkeeper),
            ratio(row)
        )?;
    }
    writeln!(
        page,
        "\n## Configuration\n\nWhat ZooKeeper's administrator's guide recommends, and how it was followed:\n"
    )?;
    for line in MANUAL {
        writeln!(page, "- {line}")?;
    }
    for server in &report.servers {
        let runtime = server.runtime.as_ref().map_or_else(String::new, |runtime| format!(" on {runtime}"));
        writeln!(page, "\n{}{runtime}:\n\n```sh\n{}\n```", server.version, server.command)?;
        writeln!(page, "\n```properties\n{}```", server.configuration)?;
    }
    Ok(())
}

/// A median, and the range if there is one.
fn spread(median: f64, values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match values {
        [] => String::new(),
        [_] => number(median),
        _ => format!("{} ({}–{})", number(median), number(least), number(most)),
    }
}

fn ratio(row: &Row) -> String {
    let [java, ours] = row.medians();
    let ratio = java / ours;
    if ratio.is_finite() { format!("{ratio:.2}") } else { String::new() }
}

/// Three digits or more.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bars::BARS;
    use crate::figures::{Figures, Measure, Who};
    use crate::machine::Machine;
    use crate::server::Described;

    fn described(version: &str) -> Described {
        Described {
            version: version.to_owned(),
            runtime: None,
            command: "run it".to_owned(),
            configuration: "a=b\n".to_owned(),
        }
    }

    #[test]
    fn the_page_shows_medians_spread_ratio_and_bars() {
        let mut figures = Figures::default();
        for (java, ours) in [(24.0, 2.0), (26.0, 1.0), (60.0, 3.0)] {
            figures.add("get-50x16", Measure::Cpu, Who::Java, java);
            figures.add("get-50x16", Measure::Cpu, Who::Ringkeeper, ours);
        }
        figures.add("memory", Measure::LiveHeap, Who::Java, 457.0);
        let report = Report {
            command_line: "compare --only get-50x16".to_owned(),
            quick: true,
            began: 0,
            date: "a day".to_owned(),
            commit: "abc".to_owned(),
            machine: Machine {
                cpu: "a CPU".to_owned(),
                cores: 2,
                memory: 3 << 30,
                kernel: "6".to_owned(),
                disk: "a disk".to_owned(),
            },
            sync_us: [200.0, 300.0],
            servers: [described("ZooKeeper 3.9.5"), described("Ringkeeper 0.1.0")],
            rounds: 3,
            bars: BARS.iter().filter_map(|bar| bar.hold_against(&figures)).collect(),
            figures,
        };
        let page = page(&report);
        for line in [
            "# Ringkeeper 0.1.0 beside ZooKeeper 3.9.5",
            "| get 50×16: at least 12 times less CPU | 26.0 | 2.00 | 13.0 | ≥ 12 | met, 8 % to spare |",
            "| get-50x16 | CPU s per million | 26.0 (24.0–60.0) | 2.00 (1.00–3.00) | 13.00 |",
            "| memory | live heap, B per znode | 457 |  |  |",
        ] {
            assert!(page.lines().any(|other| other == line), "{line}\nis not in\n{page}");
        }
        assert!(page.contains("A quick run") && page.contains("3 GiB") && page.contains("200 µs before"), "{page}");
    }
}
