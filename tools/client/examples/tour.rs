//! Sends one of every request to the server at the address given and prints the answers, without zxids, times and session ids,
//! so that two servers' tours can be compared line by line. The server should be fresh.

use std::net::SocketAddr;
use std::time::Duration;

use client::{Error, MultiOp, MultiResult, Options, Request, Response, Session};
use proto::{Acl, Id, Op, Stat};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr: SocketAddr = std::env::args().nth(1).ok_or("an address is wanted: 127.0.0.1:2181")?.parse()?;
    let mut s = Session::open(addr)?;
    println!("timeout {} read-only {:?}", s.info().timeout_ms, s.info().read_only);
    let open = client::wire::open_acl();
    let create = |op, path, flags| Request::Create { op, path, data: Some(b"data"), acl: &open, flags };
    say(&mut s, &create(Op::Create, "/a", 0));
    say(&mut s, &create(Op::Create2, "/a/b", 2));
    say(&mut s, &create(Op::CreateContainer, "/c", 4));
    say(&mut s, &Request::CreateTtl { path: "/t", data: None, acl: &open, flags: 5, ttl: 60_000 });
    say(&mut s, &create(Op::Create, "/a/e", 1));
    say(&mut s, &create(Op::Create, "/a", 0));
    say(&mut s, &create(Op::Create, "/x/y", 0));
    say(&mut s, &create(Op::Create, "/bad/", 0));
    say(&mut s, &create(Op::Create, "/flags", 9));
    say(&mut s, &Request::Exists("/a", true));
    say(&mut s, &Request::Exists("/none", true));
    say(&mut s, &Request::GetData("/a", true));
    say(&mut s, &Request::GetChildren("/a", true));
    say(&mut s, &Request::GetChildren2("/a", false));
    say(&mut s, &Request::SetData("/a", None, 0));
    say(&mut s, &Request::SetData("/a", Some(b""), 7));
    say(&mut s, &Request::GetAcl("/a"));
    say(&mut s, &Request::SetAcl("/a", &open, 0));
    say(&mut s, &Request::SetAcl("/a", &[], -1));
    say(&mut s, &Request::Sync("/nowhere"));
    say(&mut s, &Request::Ping);
    say(&mut s, &Request::GetEphemerals("/"));
    say(&mut s, &Request::GetAllChildrenNumber("/a"));
    say(&mut s, &Request::WhoAmI);
    say(&mut s, &Request::Auth("digest", b"u:p"));
    say(&mut s, &Request::WhoAmI);
    let mine = [Acl { perms: 31, id: Id::new("auth", "") }];
    say(&mut s, &Request::SetAcl("/c", &mine, -1));
    say(&mut s, &Request::GetAcl("/c"));
    say(&mut s, &Request::AddWatch("/a", 0));
    say(&mut s, &Request::AddWatch("/a", 1));
    say(&mut s, &Request::AddWatch("/a", 7));
    say(&mut s, &Request::CheckWatches("/a", 3));
    say(&mut s, &Request::CheckWatches("/zz", 3));
    let members = [
        MultiOp::Create(Op::Create2, "/m", Some(b"1"), &open, 0),
        MultiOp::SetData("/m", Some(b"2"), 0),
        MultiOp::Check("/m", 1),
        MultiOp::Delete("/m", 1),
        MultiOp::Create(Op::Create, "/a/m", None, &open, 0),
    ];
    say(&mut s, &Request::Multi(&members));
    say(&mut s, &Request::Multi(&[MultiOp::Delete("/a/m", -1), MultiOp::Check("/none", 0), MultiOp::Check("/a", 0)]));
    say(
        &mut s,
        &Request::MultiRead(&[MultiOp::GetData("/a"), MultiOp::GetChildren("/none"), MultiOp::GetChildren("/t")]),
    );
    say(&mut s, &Request::RemoveWatches("/a", 3));
    say(&mut s, &Request::RemoveWatches("/a", 3));
    let relative = s.last_zxid();
    say(&mut s, &Request::SetWatches { relative, lists: [&["/a"], &["/a"], &["/gone"]] });
    say(&mut s, &Request::SetWatches2 { relative, lists: [&[], &["/n"], &[], &["/a"], &["/"]] });
    say(&mut s, &Request::Delete("/a", -1));
    say(&mut s, &Request::Delete("/a/e", 9));
    say(&mut s, &Request::Delete("/a/e", 0));
    say(&mut s, &Request::Check("/a", -1));
    println!("closed: {}", s.wait_closed(Duration::from_secs(5))?);
    let mut s = Session::connect(addr, &Options { read_only: None, ..Options::default() })?;
    println!("without the readOnly byte: {:?}", s.info().read_only);
    say(&mut s, &Request::GetAcl("/c"));
    say(&mut s, &Request::Auth("nonsense", b""));
    println!("closed: {}", s.wait_closed(Duration::from_secs(5))?);
    let again = Options { session: Some((s.id(), [9; 16])), ..s.reattach() };
    println!("wrong password: {:?}", Session::connect(addr, &again).err().map(|e| e.to_string()));
    let s = Session::connect(addr, &s.reattach())?;
    s.close()?;
    println!(
        "{}",
        client::four_letter(addr, "srvr")?.lines().find(|line| line.starts_with("Mode")).unwrap_or("no mode")
    );
    Ok(())
}

fn say(s: &mut Session, request: &Request<'_>) {
    match s.call(request) {
        Ok(answer) => {
            println!("{} -> {} {}", answer.op, answer.reply.err, answer.response.map(show).unwrap_or_default())
        }
        Err(Error::Closed) => println!("{} -> closed", request.op()),
        Err(error) => println!("{} -> {error}", request.op()),
    }
    while let Ok(Some(event)) = s.next_event(Duration::from_millis(20)) {
        println!("    event {} {} {}", event.kind, event.state, event.path);
    }
}

fn show(response: Response) -> String {
    match response {
        Response::Created(path, stat) => format!("{path} {}", numbers(&stat)),
        Response::Stat(stat) => numbers(&stat),
        Response::Data(data, stat) => format!("{data:?} {}", numbers(&stat)),
        Response::Acl(acl, stat) => format!("{acl:?} {}", numbers(&stat)),
        Response::Children(mut names, stat) => {
            names.sort();
            format!("{names:?} {}", numbers(&stat))
        }
        Response::Names(mut names) => {
            names.sort();
            format!("{names:?}")
        }
        Response::Users(mut users) => {
            users.sort();
            format!("{users:?}")
        }
        Response::Multi(results) => results.into_iter().map(member).collect::<Vec<_>>().join("; "),
        other => format!("{other:?}"),
    }
}

fn member(result: MultiResult) -> String {
    match result {
        MultiResult::Created2(path, stat) => format!("{path} {}", numbers(&stat)),
        MultiResult::Set(stat) => numbers(&stat),
        MultiResult::Data(data, stat) => format!("{data:?} {}", numbers(&stat)),
        other => format!("{other:?}"),
    }
}

/// What of a stat does not depend on the moment.
fn numbers(stat: &Stat) -> String {
    format!(
        "v{} c{} a{} owned={} bytes={} children={}",
        stat.version,
        stat.cversion,
        stat.aversion,
        stat.ephemeral_owner.0 != 0,
        stat.data_length,
        stat.num_children
    )
}
