//! `eyot place --gateway`: whether a function fits a gateway that runs, and its nodes, by what they say that they have left.

use eyot_core::needs::{Need, Needs};
use eyot_engine::{Function, LoadOptions};
use eyot_gateway::board::{self, Board, Demand};
use eyot_wire::manifest::Manifest;
use serde::Serialize;

use crate::error::Error;
use crate::output::{self, shown};
use crate::place::{ended, head, load, verdict};
use crate::remote;
use crate::remote::client::Client;
use crate::remote::documents::{FunctionStatus, NodeDocument, Status};
use crate::remote::options::{self, Connection};
use crate::remote::roster::{gather, unknown, Seen};

#[derive(Serialize)]
struct Report<'a> {
    name: &'a str,
    version: String,
    module_bytes: usize,
    places: Vec<Place<'a>>,
}

/// The gateway, or one of its nodes.
#[derive(Serialize)]
struct Place<'a> {
    name: &'a str,
    /// "gateway" or "node".
    runs: &'static str,
    /// None if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    board: Option<&'a str>,
    online: bool,
    fits: bool,
    demands: Vec<Demand>,
    /// Why it does not fit although the demands are met.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What happens when it comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl Place<'_> {
    fn text(&self) -> String {
        let words = self.demands.iter().map(Demand::to_string);
        let words: Vec<String> = words.chain(self.reason.clone()).chain(self.note.clone()).collect();
        let [name, board] = [self.name, self.board.unwrap_or_default()].map(|word| shown(word.as_bytes()));
        let all = shown(words.join("; ").as_bytes());
        format!("{name:17} {:8} {board:13} {}  {all}\n", self.runs, verdict(self.fits))
    }
}

/// What is to be placed.
struct Guest<'a> {
    manifest: &'a Manifest,
    module: &'a [u8],
}

/// Says where the function fits.
///
/// # Errors
/// Nowhere; or the gateway is not there.
pub fn execute(
    connection: &Connection,
    gateway: &str,
    manifest: &Manifest,
    module: &[u8],
    json: bool,
) -> Result<(), Error> {
    let (id, seen) = remote::run(find(connection, gateway))?;
    let guest = Guest { manifest, module };
    let Some(status) = seen.status.as_ref().filter(|status| status.online) else {
        return Err(Error::failed(id, "is offline", "check its power, eyotd and its network"));
    };
    let mut places = vec![guest.on_gateway(&id, status)?];
    for node in seen.nodes.values() {
        places.push(guest.on_node(node)?);
    }
    let fits = places.iter().any(|place| place.fits);
    if json {
        let (name, version) = (manifest.name.as_str(), manifest.version.to_string());
        output::json(&Report { name, version, module_bytes: module.len(), places })?;
    } else {
        output::print(&places.iter().fold(head(manifest, module), |text, place| text + &place.text()))?;
    }
    ended(manifest, fits)
}

/// The gateway's id, and what it left at the broker.
async fn find(connection: &Connection, gateway: &str) -> Result<(String, Seen), Error> {
    let id = options::gateway(Some(gateway))?;
    let filters = ["status", "node/+"].map(|rest| format!("eyot/{}/{rest}", id.as_str())).into();
    let mut client = Client::connect(connection, filters).await?;
    let mut roster = gather(&mut client, connection).await?;
    let url = client.url.clone();
    client.close().await;
    roster.gateways.remove_entry(id.as_str()).ok_or_else(|| unknown(&id, &url))
}

impl Guest<'_> {
    fn on_gateway<'a>(&self, id: &'a str, status: &'a Status) -> Result<Place<'a>, Error> {
        let board = status.system.as_ref().map(|system| system.board.as_str());
        let known = board.and_then(|id| Board::all().into_iter().find(|board| board.id == id));
        let mut demands = match known {
            Some(board) => board.demands(self.manifest, self.module.len()),
            None => board::on_any_gateway(self.manifest, self.module.len()).into(),
        };
        let reason = match load(self.module, LoadOptions::default())? {
            Ok(function) => self.add_needs(&function, status, &mut demands),
            Err(reason) => Some(reason),
        };
        let fits = reason.is_none() && demands.iter().all(Demand::is_met);
        Ok(Place { name: id, runs: "gateway", board, online: true, fits, demands, reason, note: None })
    }

    /// What it needs beside the gateway's other functions; and what those do not tell.
    fn add_needs(&self, function: &Function, status: &Status, demands: &mut Vec<Demand>) -> Option<String> {
        let (Some(capacity), Some(spool)) = (&status.capacity, &status.spool) else {
            return Some("it does not say what it has left; its eyotd is older than this program".to_owned());
        };
        let Others { count, state_bytes, fuel_per_s } = Others::than(&self.manifest.name, &status.functions);
        let mut needs = Needs::new(spool.max_bytes, capacity.fuel_per_s).with(state_bytes, fuel_per_s);
        let need = Need::of(function);
        let refused = needs.add(&need).err();
        let sum = format!("{count} other functions");
        demands.push(demand("functions", count + 1, capacity.functions as u64, sum));
        if need.state_bytes > 0 {
            let sum = format!("{} + {state_bytes} of other functions", need.state_bytes);
            demands.push(demand("state bytes", needs.state_bytes().into(), needs.state_max_bytes(), sum));
        }
        if let (Some(budget), Some(fuel)) = (capacity.fuel_per_s, need.fuel_per_s().filter(|fuel| *fuel > 0)) {
            let sum = format!("{fuel} + {fuel_per_s} of other functions");
            demands.push(demand("fuel in a second", fuel + fuel_per_s, budget, sum));
        }
        // What the arithmetic shows is not said twice.
        refused.filter(|_| demands.iter().all(Demand::is_met))
    }

    fn on_node<'a>(&self, node: &'a NodeDocument) -> Result<Place<'a>, Error> {
        let (name, board, online) = (node.node.as_str(), node.board.as_deref(), node.online);
        let place = |demands: Vec<Demand>, reason: Option<String>, note| {
            let fits = reason.is_none() && demands.iter().all(Demand::is_met);
            Place { name, runs: "node", board, online, fits, demands, reason, note }
        };
        let budget = board.ok_or_else(|| "its [[node]] names no board; name it in gateway.toml".to_owned());
        let budget = match budget.and_then(board::find) {
            Ok(budget) => budget,
            Err(reason) => return Ok(place(Vec::new(), Some(reason), None)),
        };
        let mut demands = Vec::from(budget.demands(self.manifest, self.module.len()));
        let heap = demands.iter_mut().find(|demand| demand.of == HEAP);
        let needed = heap.map_or(0, |heap| {
            if node.heap_bytes > 0 {
                heap.has = heap.has.min(node.heap_bytes);
            }
            heap.needs
        });
        let other = running(node).filter(|other| *other != self.manifest.name);
        let reason = match (other, load(self.module, budget.load_options())?) {
            (Some(other), _) => Some(format!(
                "it runs \"{other}\", and a node runs one function: remove that first, with `eyot remove {other} --node {name}`"
            )),
            (None, Err(reason)) => Some(reason),
            (None, Ok(_)) => None,
        };
        let free = node.heap_bytes.saturating_sub(node.heap_used_bytes);
        let note = match online {
            false => Some("it is away, and gets it when it is back".to_owned()),
            true if needed > free => {
                Some(format!("{free} bytes of its heap are free: what it runs goes before this is loaded"))
            }
            true => Some(format!("{free} bytes of its heap are free")),
        };
        Ok(place(demands, reason, note))
    }
}

/// The functions of a gateway beside one, and what they come to by what it says: no sum of that may wrap.
#[derive(Debug, PartialEq, Eq)]
struct Others {
    count: u128,
    state_bytes: u64,
    fuel_per_s: u128,
}

impl Others {
    fn than(name: &str, functions: &[FunctionStatus]) -> Self {
        let mut all = Self { count: 0, state_bytes: 0, fuel_per_s: 0 };
        for other in functions.iter().filter(|other| other.name != name) {
            let Some(state_bytes) = other.state_max_bytes else { continue };
            all.count += 1;
            all.state_bytes = all.state_bytes.saturating_add(state_bytes);
            all.fuel_per_s += u128::from(other.fuel_per_s.unwrap_or(0));
        }
        all
    }
}

/// What the heap is called among demands.
const HEAP: &str = "heap bytes";

fn demand(of: &'static str, needs: u128, has: u64, sum: String) -> Demand {
    Demand { of, needs: u64::try_from(needs).unwrap_or(u64::MAX), has, sum }
}

/// What a node runs or is to run: it takes no other function.
fn running(node: &NodeDocument) -> Option<&str> {
    let deployed = node.deployed.as_ref()?;
    let beside = deployed.staged.iter().chain(&deployed.active).find_map(|build| build.name.as_deref());
    beside.or_else(|| Some(deployed.name.as_str()).filter(|_| deployed.state != "rejected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_come_to_does_not_wrap() {
        let function = |name: &str, state_max_bytes: u64| {
            let text = format!(
                r#"{{"name":"{name}","version":"1.0.0","sha256":"","state":"active","state_max_bytes":{state_max_bytes},"fuel_per_s":{}}}"#,
                u64::MAX
            );
            serde_json::from_str::<FunctionStatus>(&text).unwrap()
        };
        let all = [function("f", 1), function("g", 1 << 63), function("h", 1 << 63)];
        let fuel_per_s = 2 * u128::from(u64::MAX);
        assert_eq!(Others::than("f", &all), Others { count: 2, state_bytes: u64::MAX, fuel_per_s });
        assert_eq!(Others::than("g", &all).state_bytes, (1 << 63) + 1);
    }

    #[test]
    fn what_a_node_is_to_run_stands_beside_a_push_that_was_refused() {
        let runs = |more: &str| {
            let build = r#""version":"1.0.0","sha256":"""#;
            let of = |name: &str| format!(r#"{{"name":"{name}",{build}}}"#);
            let more = more.replace("TRIM", &of("trim"));
            let text = format!(r#"{{"node":"north","online":true,"name":"thin",{build},{more}}}"#);
            let document: NodeDocument = serde_json::from_str(&text).unwrap();
            running(&document).map(str::to_owned)
        };
        assert_eq!(runs(r#""state":"rejected""#), None);
        assert_eq!(runs(r#""state":"rejected","staged":TRIM"#).as_deref(), Some("trim"));
        assert_eq!(runs(r#""state":"rejected","active":TRIM"#).as_deref(), Some("trim"));
        assert_eq!(runs(r#""state":"staged""#).as_deref(), Some("thin"));
    }
}
