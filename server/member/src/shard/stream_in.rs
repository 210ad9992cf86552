//! Consuming the commit stream: advance, fire watches, answer, serve the reads that waited (DESIGN.md §3).

use pipeline::{Answer, Body, Clients, Commit, ConnRef, Item, MemberResult, Now, Readers};
use proto::jute::{Encode, put_buffer, put_string, put_strings};
use proto::multi::{put_end, put_member_error, put_member_header};
use proto::reply::{EventType, begin_frame, end_frame, put_header};
use proto::{Code, Op};

use super::{Key, Queued, Shard, reads};

impl Shard {
    /// Takes every batch that is released.
    pub fn catch_up(&mut self, now: Now) {
        while let Some(batch) = self.stream.take() {
            for item in batch.iter() {
                match item {
                    Item::Commit(commit) => self.commit(commit, now),
                    Item::Answer(answer) => self.answer(answer, now),
                    Item::Close(conn) => self.close(*conn),
                    Item::Serve(serves) => self.serve(*serves),
                    Item::Tree(readers) => self.replace_tree(readers),
                }
            }
        }
    }

    fn commit(&mut self, commit: &Commit, now: Now) {
        self.room.tree.advance(commit.zxid);
        if !self.room.watches.is_empty() {
            let mut events = std::mem::take(&mut self.events);
            for change in commit.changes.iter() {
                reads::trigger(&mut self.room.watches, change, &mut events);
                for (key, event) in events.drain(..) {
                    let (path, acl) = if event == EventType::NodeChildrenChanged {
                        (proto::path::parent(&change.path), &change.parent_acl)
                    } else {
                        (&*change.path, &change.acl)
                    };
                    self.notify(key, (commit.zxid, now), event, path, acl);
                }
            }
            self.events = events;
            self.room.tell_watches();
        }
        if let Some(answer) = &commit.answer {
            self.answer(answer, now);
        }
        if let Some(conn) = commit.closing {
            self.close(conn);
        }
    }

    /// Whoever was served until now loses the connection, as in ZooKeeper: without a leader nobody is, and what a server without
    /// one did for its readers ends when there is one.
    fn serve(&mut self, serves: Clients) {
        let before = std::mem::replace(&mut self.serving, serves);
        if before == Clients::Nobody && serves != Clients::Nobody {
            return;
        }
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            let talks = slot.conn.as_ref().is_some_and(|conn| conn.word.is_none());
            let key = Key { index: index as u32, generation: slot.generation };
            if talks {
                self.end(key);
            }
        }
    }

    fn replace_tree(&mut self, readers: &Readers) {
        self.room.tree = readers.take(self.room.id).expect("a new tree has a reader for each shard");
    }

    fn close(&mut self, conn: ConnRef) {
        if conn.shard == self.room.id {
            self.end(Key { index: conn.index, generation: conn.generation });
        }
    }

    fn answer(&mut self, answer: &Answer, now: Now) {
        if answer.conn.shard != self.room.id {
            return;
        }
        let key = Key { index: answer.conn.index, generation: answer.conn.generation };
        let Some(conn) = self.conn_mut(key).filter(|conn| !conn.closing) else { return };
        if let Body::Session(opened) = &answer.body {
            return self.session_answer(key, opened.as_ref(), now);
        }
        let Some(Queued::Waiting { xid, op, since, bytes, echo }) = conn.queue.pop_front() else {
            unreachable!("an answer belongs to the request at the front of its connection's queue");
        };
        assert_eq!(xid, answer.xid, "answers come in the order of requests");
        conn.queued_bytes -= bytes;
        self.outstanding -= 1;
        self.queued_bytes -= bytes;
        let Some(conn) = self.conn_mut(key) else { return };
        let before = conn.output.len();
        let start = begin_frame(&mut conn.output);
        put_header(&mut conn.output, xid, answer.zxid, answer.code);
        if answer.code == Code::Ok {
            put_body(&mut conn.output, &answer.body, echo.as_deref());
        }
        end_frame(&mut conn.output, start);
        let latency = now.mono.since(since);
        conn.stats.sent += 1;
        // A write that failed leaves no name, as in Java, where the error is thrown before the operation is looked at.
        let name = if answer.code == Code::Ok { reads::short_name(Some(op)) } else { "NA" };
        conn.stats.answered(name, i64::from(xid.0), answer.zxid, latency, now.wall);
        let bytes = conn.output.len() - before;
        self.room.stats.packet_sent(bytes);
        self.room.stats.latency(latency);
        self.touch_dirty(key);
        self.serve_waiting_reads(key, now);
    }

    /// Reads that stood behind the write that was just answered, up to the next write.
    fn serve_waiting_reads(&mut self, key: Key, now: Now) {
        loop {
            let Some(conn) = self.conn_mut(key).filter(|conn| !conn.closing) else { return };
            if !matches!(conn.queue.front(), Some(Queued::Read { .. })) {
                return;
            }
            let Some(Queued::Read { xid, op, body, ids, since }) = conn.queue.pop_front() else { return };
            conn.queued_bytes -= body.len();
            self.outstanding -= 1;
            self.queued_bytes -= body.len();
            self.read(key, xid, op, &body, Some(&ids), now, since);
        }
    }
}

fn put_body(out: &mut Vec<u8>, body: &Body, echo: Option<&str>) {
    match body {
        Body::None => {
            if let Some(path) = echo {
                put_string(out, path);
            }
        }
        Body::Path(path) => put_string(out, path),
        Body::PathStat(path, stat) => {
            put_string(out, path);
            stat.encode(out);
        }
        Body::Stat(stat) => stat.encode(out),
        Body::Data(data, stat) => {
            put_buffer(out, Some(data));
            stat.encode(out);
        }
        Body::Strings(strings) => put_strings(out, strings),
        Body::Multi(results) => {
            results.iter().for_each(|result| put_member(out, result));
            put_end(out);
        }
        Body::Session(_) => unreachable!("a session's answer has its own record"),
    }
}

fn put_member(out: &mut Vec<u8>, result: &MemberResult) {
    match result {
        MemberResult::Path(path) => {
            put_member_header(out, Op::Create, Code::Ok);
            put_string(out, path);
        }
        MemberResult::PathStat(path, stat) => {
            put_member_header(out, Op::Create2, Code::Ok);
            put_string(out, path);
            stat.encode(out);
        }
        MemberResult::Deleted => put_member_header(out, Op::Delete, Code::Ok),
        MemberResult::Checked => put_member_header(out, Op::Check, Code::Ok),
        MemberResult::Stat(stat) => {
            put_member_header(out, Op::SetData, Code::Ok);
            stat.encode(out);
        }
        MemberResult::Error(code) => put_member_error(out, *code),
    }
}
