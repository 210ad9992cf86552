//! Transactions: a payload of the log, which is a header, the transaction that it names, and perhaps a digest.

use proto::txn::{decode_digest, decode_txn, put_digest};
use proto::{Decode, Encode, Reader, Txn, TxnHeader};

use crate::same::compare;

/// Fuzz target.
pub fn txns(input: &[u8]) {
    let Ok(record) = wal::decode(input) else { return };
    if has_two_empty_paths(&record.txn) {
        return;
    }
    let mut out = Vec::new();
    record.header.encode(&mut out);
    record.txn.encode(&mut out);
    if let Some(digest) = record.digest {
        put_digest(&mut out, digest.tree);
    }
    let again = wal::decode(&out).expect("what was written can be read");
    assert_eq!(record.header, again.header);
    compare(input, &record.txn, &again.txn);
    assert_eq!(record.digest.map(|digest| digest.tree), again.digest.map(|digest| digest.tree));
    record.txn.is_error();

    // Without a digest, from what is behind the header alone.
    let mut r = Reader::new(input);
    let header = TxnHeader::decode(&mut r).expect("it was read before");
    let txn: Txn<'_> = decode_txn(header.op, &mut r).expect("it was read before");
    compare(input, &record.txn, &txn);
    decode_digest(&mut r);
}

/// Such a closeSession looks like one without a list and with a digest. It is read as the latter, which servers write; no
/// session owns a znode without a name.
fn has_two_empty_paths(txn: &Txn<'_>) -> bool {
    match txn {
        Txn::CloseSession { paths: Some(paths) } => paths.len() == 2 && paths.iter().all(|path| path.is_empty()),
        Txn::Multi { members } => members.iter().any(|(_, member)| has_two_empty_paths(member)),
        _ => false,
    }
}
