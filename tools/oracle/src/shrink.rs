//! Makes a failing script short: takes steps out, then single requests, as long as the servers still differ.

use std::time::{Duration, Instant};

use crate::pair::Difference;
use crate::script::{Req, Step};

/// The shortest script found that still fails, and how. `fails` runs one.
pub fn shrink(
    mut steps: Vec<Step>,
    mut difference: Difference,
    wait_max: Duration,
    fails: &mut dyn FnMut(&[Step]) -> Option<Difference>,
) -> (Vec<Step>, Difference) {
    let until = Instant::now() + wait_max;
    steps.truncate(difference.step + 1);
    // Requests one by one are easier to take out than bursts.
    let apart: Vec<Step> = steps
        .iter()
        .flat_map(|step| match step {
            Step::Send(slot, requests) => requests.iter().map(|one| Step::Send(*slot, vec![one.clone()])).collect(),
            other => vec![other.clone()],
        })
        .collect();
    if let Some(found) = fails(&apart) {
        steps = apart;
        steps.truncate(found.step + 1);
        difference = found;
    }
    // Often the last few are enough.
    for last in [1, 2, 4, 8, 16] {
        let cut = steps.len().saturating_sub(last);
        let opens = steps[..cut].iter().filter(|step| matches!(step, Step::Open { .. }));
        let few: Vec<Step> = opens.chain(&steps[cut..]).cloned().collect();
        if few.len() < steps.len()
            && let Some(found) = fails(&few)
        {
            (steps, difference) = (few, found);
            break;
        }
    }
    let mut size = steps.len() / 2;
    while size > 0 && Instant::now() < until {
        let mut at = steps.len();
        while at > 0 && Instant::now() < until {
            let start = at.saturating_sub(size);
            let mut shorter = steps.clone();
            shorter.drain(start..at);
            if let Some(found) = fails(&shorter) {
                steps = shorter;
                difference = found;
            }
            at = start;
        }
        size /= 2;
    }
    let mut index = 0;
    while index < steps.len() && Instant::now() < until {
        let Step::Send(slot, requests) = steps[index].clone() else {
            index += 1;
            continue;
        };
        let mut requests = requests;
        let mut at = requests.len();
        while at > 0 && requests.len() > 1 && Instant::now() < until {
            at -= 1;
            let mut fewer = requests.clone();
            fewer.remove(at);
            let mut shorter = steps.clone();
            shorter[index] = Step::Send(slot, fewer.clone());
            if let Some(found) = fails(&shorter) {
                (steps, requests, difference) = (shorter, fewer, found);
            }
        }
        index += 1;
    }
    for index in 0..steps.len() {
        let mut at = usize::MAX;
        while Instant::now() < until {
            let mut shorter = steps.clone();
            let Step::Send(_, requests) = &mut shorter[index] else { break };
            let [Req::Multi(members) | Req::MultiRead(members)] = &mut requests[..] else { break };
            at = at.min(members.len());
            if at == 0 {
                break;
            }
            at -= 1;
            members.remove(at);
            if let Some(found) = fails(&shorter) {
                (steps, difference) = (shorter, found);
            }
        }
    }
    (steps, difference)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Version;

    #[test]
    fn what_does_not_matter_is_taken_out() {
        let open = |slot| Step::Open { slot, timeout_ms: 1, read_only: None };
        let bad = Req::Delete("/bad".to_owned(), Version::Is(0));
        let noise = || Req::Sync("/noise".to_owned());
        let mut steps = vec![open(0), open(1)];
        steps.extend((0..40).map(|_| Step::Send(0, vec![noise(), noise()])));
        steps.push(Step::Send(1, vec![noise(), bad.clone(), noise()]));
        let mut fails = |steps: &[Step]| {
            let step =
                steps.iter().position(|step| matches!(step, Step::Send(1, requests) if requests.contains(&bad)))?;
            let opened = steps[..step].contains(&open(1));
            opened.then(|| Difference { step, what: String::new(), java: Vec::new(), ours: Vec::new() })
        };
        let first = fails(&steps).unwrap();
        let (short, found) = shrink(steps, first, Duration::from_secs(60), &mut fails);
        assert_eq!(short, [open(1), Step::Send(1, vec![bad.clone()])]);
        assert_eq!(found.step, 1);
    }
}
