//! The first exchange on a connection, and the session password (client-protocol.md §3).

use crate::ids::{SessionId, Zxid};
use crate::jute::{JuteError, Reader, put_bool, put_buffer, put_int, put_long};

/// Bytes of a session password.
pub const PASSWORD_BYTES: usize = 16;

/// What a client says first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectRequest {
    /// Sent as 0 by clients and ignored.
    pub protocol_version: i32,
    /// The newest zxid that the client has seen; a server behind it must not serve it.
    pub last_zxid_seen: Zxid,
    /// Wanted session timeout, ms.
    pub timeout_ms: i32,
    /// Session to re-attach, or zero for a new one.
    pub session: SessionId,
    /// Its password.
    pub password: Vec<u8>,
    /// May a read-only server answer? `None` if the client does not know the field; the reply then lacks it as well.
    pub read_only: Option<bool>,
}

impl ConnectRequest {
    /// Reads the record; the last field may be absent (clients of the 3.3 era).
    pub fn decode(body: &[u8]) -> Result<ConnectRequest, JuteError> {
        let mut r = Reader::new(body);
        Ok(ConnectRequest {
            protocol_version: r.int()?,
            last_zxid_seen: Zxid(r.long()?),
            timeout_ms: r.int()?,
            session: SessionId(r.long()?),
            password: r.buffer()?.unwrap_or_default().to_vec(),
            read_only: if r.is_empty() { None } else { Some(r.bool()?) },
        })
    }

    /// Appends the record (the client's side).
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_int(out, self.protocol_version);
        put_long(out, self.last_zxid_seen.0);
        put_int(out, self.timeout_ms);
        put_long(out, self.session.0);
        put_buffer(out, Some(&self.password));
        if let Some(read_only) = self.read_only {
            put_bool(out, read_only);
        }
    }
}

/// The server's answer. All zeros is a refusal: the session does not exist or the password is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectResponse {
    /// Negotiated timeout, ms; 0 = refused.
    pub timeout_ms: i32,
    /// The session; 0 = refused.
    pub session: SessionId,
    /// Its password; zeros = refused.
    pub password: [u8; PASSWORD_BYTES],
    /// Present only if the client sent the field.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// A refusal, in the shape that the client understands.
    pub fn refusal(read_only: Option<bool>) -> ConnectResponse {
        ConnectResponse { timeout_ms: 0, session: SessionId::NONE, password: [0; PASSWORD_BYTES], read_only }
    }

    /// Appends the record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_int(out, 0);
        put_int(out, self.timeout_ms);
        put_long(out, self.session.0);
        put_buffer(out, Some(&self.password));
        if let Some(read_only) = self.read_only {
            put_bool(out, read_only);
        }
    }

    /// Reads the record (the client's side).
    pub fn decode(body: &[u8]) -> Result<ConnectResponse, JuteError> {
        let mut r = Reader::new(body);
        r.int()?;
        let timeout_ms = r.int()?;
        let session = SessionId(r.long()?);
        let password = r.buffer()?.ok_or(JuteError::Null)?;
        let password = password.try_into().map_err(|_| JuteError::Length(password.len() as i32))?;
        Ok(ConnectResponse {
            timeout_ms,
            session,
            password,
            read_only: if r.is_empty() { None } else { Some(r.bool()?) },
        })
    }
}

/// The password of a session: the first 16 bytes of `java.util.Random` seeded with the id XOR 0xB3415C00. All servers of
/// an ensemble, ours and Java's, must agree on it.
pub fn session_password(session: SessionId) -> [u8; PASSWORD_BYTES] {
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = (session.0 as u64 ^ 0xB341_5C00 ^ MULTIPLIER) & MASK;
    let mut password = [0; PASSWORD_BYTES];
    for word in password.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        word.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_passwords_are_those_of_java() {
        // Captured from `ZooKeeperServer.generatePasswd` of 3.9.5.
        let captured: [(u64, u128); 12] = [
            (0, 0xf22a_cd4a_97e6_9d6d_20a4_9bb6_38ea_db38),
            (1, 0x054c_c74a_3732_7db2_15e7_02e2_0c73_f005),
            (2, 0xcce8_d84a_574f_dfe3_361e_cd5f_91d8_b29e),
            (u64::MAX, 0x20f6_2cb5_648d_c2d7_7147_1c8a_2486_a9ee),
            (0x0100_00c4_6105_0000, 0xd15d_e964_8ae9_e728_9737_c965_e39d_74e5),
            (0x0100_0000_0000_0000, 0xf22a_cd4a_97e6_9d6d_20a4_9bb6_38ea_db38),
            (0x01ff_0000_dead_beef, 0xe61e_b63f_1c18_02e5_d90d_40c2_c98c_7598),
            (0x7fff_ffff_ffff_ffff, 0x20f6_2cb5_648d_c2d7_7147_1c8a_2486_a9ee),
            (0x8000_0000_0000_0000, 0xf22a_cd4a_97e6_9d6d_20a4_9bb6_38ea_db38),
            (0xb341_5c00, 0x60b4_20bb_3851_d9d4_7acb_933d_be70_399b),
            (0xff00_0000_0000_0001, 0x054c_c74a_3732_7db2_15e7_02e2_0c73_f005),
            (0x0200_0123_4567_8abc, 0x9e44_b4aa_6477_c431_cc2d_e6ff_3bbc_300b),
        ];
        for (id, password) in captured {
            assert_eq!(session_password(SessionId(id as i64)), password.to_be_bytes(), "{id:#x}");
        }
    }
}
