//! QUERY_EVENT: a statement, and the session settings under which it must be read.
use super::name;
use super::reader::Bytes;
use crate::error::Result;

/// A statement: BEGIN, COMMIT, DDL, or a change logged as a statement.
#[derive(Clone, PartialEq, Debug)]
pub struct QueryEvent<'a> {
    /// The connection that executed it.
    pub thread_id: u32,
    /// How long it took, in seconds.
    pub execution_seconds: u32,
    /// The error it ended with on the source; 0 for none.
    pub error_code: u16,
    /// The session's settings.
    pub status: StatusVars,
    /// The default database; empty for none.
    pub database: String,
    /// The text, in the character set `status.character_set_client`.
    pub statement: &'a [u8],
}

/// The settings of the session that executed a statement, as far as the event holds them.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct StatusVars {
    /// `OPTION_AUTO_IS_NULL`, `OPTION_NOT_AUTOCOMMIT`, `OPTION_NO_FOREIGN_KEY_CHECKS`, `OPTION_RELAXED_UNIQUE_CHECKS`.
    pub flags2: Option<u32>,
    /// `sql_mode` as bits.
    pub sql_mode: Option<u64>,
    /// The catalog; always `std`.
    pub catalog: Option<String>,
    /// `auto_increment_increment`.
    pub auto_increment_increment: Option<u16>,
    /// `auto_increment_offset`.
    pub auto_increment_offset: Option<u16>,
    /// Number of the default collation of `character_set_client`.
    pub character_set_client: Option<u16>,
    /// Number of `collation_connection`.
    pub collation_connection: Option<u16>,
    /// Number of `collation_server`.
    pub collation_server: Option<u16>,
    /// `time_zone`.
    pub time_zone: Option<String>,
    /// Number of `lc_time_names`.
    pub lc_time_names: Option<u16>,
    /// Number of `collation_database`.
    pub charset_database: Option<u16>,
    /// Tables that a multi-table update changes.
    pub table_map_for_update: Option<u64>,
    /// User and host that the statement ran as, where that matters.
    pub invoker: Option<(String, String)>,
    /// The databases that are changed; `None` when not told or too many.
    pub updated_databases: Option<Vec<String>>,
    /// Fraction of the event's timestamp, in microseconds.
    pub microseconds: Option<u32>,
    /// `explicit_defaults_for_timestamp`.
    pub explicit_defaults_for_timestamp: Option<bool>,
    /// Number of the transaction of atomic DDL (8.0 and later).
    pub ddl_xid: Option<u64>,
    /// Number of `default_collation_for_utf8mb4`.
    pub default_collation_for_utf8mb4: Option<u16>,
    /// `sql_require_primary_key`.
    pub sql_require_primary_key: Option<u8>,
    /// `default_table_encryption`.
    pub default_table_encryption: Option<u8>,
    /// The first code that is not known here; what stands behind it was not read.
    pub unknown: Option<u8>,
}

impl<'a> QueryEvent<'a> {
    /// Reads the body of the event.
    ///
    /// # Errors
    ///
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when a field is cut off, or a name is not UTF-8.
    pub fn parse(body: &'a [u8]) -> Result<Self> {
        let mut bytes = Bytes::new(body, "query event");
        let thread_id = bytes.u32()?;
        let execution_seconds = bytes.u32()?;
        let database_length = bytes.u8()?;
        let error_code = bytes.u16()?;
        let status_length = bytes.u16()?;
        let status =
            StatusVars::parse(bytes.part(u64::from(status_length), "status variables of a query event")?)?;
        let database = name(bytes.take(usize::from(database_length))?, "query event")?;
        if bytes.u8()? != 0 {
            return Err(bytes.damaged("the database's name has no end"));
        }
        Ok(QueryEvent { thread_id, execution_seconds, error_code, status, database, statement: bytes.rest() })
    }

    /// Returns the statement alone, without reading what stands before it.
    ///
    /// # Errors
    ///
    /// [`BinlogDamaged`](crate::error::ErrorKind::BinlogDamaged) when a field is cut off.
    pub fn statement_of(body: &'a [u8]) -> Result<&'a [u8]> {
        let mut bytes = Bytes::new(body, "query event");
        bytes.take(8)?;
        let database_length = bytes.u8()?;
        bytes.u16()?;
        let status_length = bytes.u16()?;
        bytes.take(usize::from(status_length) + usize::from(database_length))?;
        if bytes.u8()? != 0 {
            return Err(bytes.damaged("the database's name has no end"));
        }
        Ok(bytes.rest())
    }

    /// Returns whether the statement is this one word, in any case, such as `BEGIN` or `COMMIT`.
    pub fn is(&self, word: &str) -> bool {
        self.statement.trim_ascii().eq_ignore_ascii_case(word.as_bytes())
    }
}

impl StatusVars {
    fn parse(mut bytes: Bytes<'_>) -> Result<Self> {
        const WHAT: &str = "status variables of a query event";
        // The mark of "too many databases to list".
        const DATABASES_TOO_MANY: u8 = 254;
        let mut vars = StatusVars::default();
        while !bytes.is_empty() {
            match bytes.u8()? {
                0 => vars.flags2 = Some(bytes.u32()?),
                1 => vars.sql_mode = Some(bytes.u64()?),
                2 => {
                    vars.catalog = Some(name(bytes.short_bytes()?, WHAT)?);
                    bytes.u8()?;
                }
                3 => {
                    vars.auto_increment_increment = Some(bytes.u16()?);
                    vars.auto_increment_offset = Some(bytes.u16()?);
                }
                4 => {
                    vars.character_set_client = Some(bytes.u16()?);
                    vars.collation_connection = Some(bytes.u16()?);
                    vars.collation_server = Some(bytes.u16()?);
                }
                5 => vars.time_zone = Some(name(bytes.short_bytes()?, WHAT)?),
                6 => vars.catalog = Some(name(bytes.short_bytes()?, WHAT)?),
                7 => vars.lc_time_names = Some(bytes.u16()?),
                8 => vars.charset_database = Some(bytes.u16()?),
                9 => vars.table_map_for_update = Some(bytes.u64()?),
                // Written by a replica's receiver for its applier.
                10 => {
                    bytes.u32()?;
                }
                11 => {
                    let user = name(bytes.short_bytes()?, WHAT)?;
                    vars.invoker = Some((user, name(bytes.short_bytes()?, WHAT)?));
                }
                12 => {
                    let count = bytes.u8()?;
                    if count != DATABASES_TOO_MANY {
                        let mut databases = Vec::new();
                        for _ in 0..count {
                            databases.push(name(bytes.null_terminated()?, WHAT)?);
                        }
                        vars.updated_databases = Some(databases);
                    }
                }
                // MariaDB's 128 is the same.
                13 | 128 => vars.microseconds = Some(bytes.u24()?),
                16 => vars.explicit_defaults_for_timestamp = Some(bytes.u8()? != 0),
                // MariaDB's 129 is the same.
                17 | 129 => vars.ddl_xid = Some(bytes.u64()?),
                18 => vars.default_collation_for_utf8mb4 = Some(bytes.u16()?),
                19 => vars.sql_require_primary_key = Some(bytes.u8()?),
                20 => vars.default_table_encryption = Some(bytes.u8()?),
                // Each variable's length is known only from its code.
                unknown => {
                    vars.unknown = Some(unknown);
                    break;
                }
            }
        }
        Ok(vars)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(status: &[u8], database: &str, statement: &str) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend(11_u32.to_le_bytes());
        body.extend(3_u32.to_le_bytes());
        body.push(u8::try_from(database.len()).unwrap());
        body.extend(0_u16.to_le_bytes());
        body.extend(u16::try_from(status.len()).unwrap().to_le_bytes());
        body.extend(status);
        body.extend(database.as_bytes());
        body.push(0);
        body.extend(statement.as_bytes());
        body
    }

    #[test]
    fn all_status_variables() {
        let mut status = vec![0, 1, 0, 0, 0];
        status.extend([1, 0, 0, 0x20, 0, 0, 0, 0, 0]);
        status.extend(b"\x02\x03std\0");
        status.extend([3, 2, 0, 1, 0]);
        status.extend([4, 33, 0, 45, 0, 0xff, 0]);
        status.extend(b"\x05\x06SYSTEM\x06\x03std");
        status.extend([7, 1, 0, 8, 33, 0, 9, 1, 0, 0, 0, 0, 0, 0, 0, 10, 1, 2, 3, 4]);
        status.extend(b"\x0b\x01u\x01h\x0c\x02a\0b\0\x0d\x01\x02\x00\x10\x01");
        status.extend(b"\x11\x09\0\0\0\0\0\0\0\x12\xff\0\x13\x01\x14\x01");
        let body = body(&status, "shop", "DROP TABLE t");
        let event = QueryEvent::parse(&body).unwrap();
        assert_eq!((event.database.as_str(), event.statement), ("shop", &b"DROP TABLE t"[..]));
        let vars = event.status;
        assert_eq!(vars.sql_mode, Some(0x20_0000));
        assert_eq!((vars.character_set_client, vars.collation_server), (Some(33), Some(255)));
        assert_eq!(vars.updated_databases, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(vars.microseconds, Some(513));
        assert_eq!((vars.ddl_xid, vars.default_table_encryption, vars.unknown), (Some(9), Some(1), None));
    }

    // canal#5453: a code that is not known must not hide the statement.
    #[test]
    fn an_unknown_status_variable_ends_the_variables_only() {
        let body = body(&[0, 1, 0, 0, 0, 77, 1, 2, 3], "shop", "BEGIN");
        let event = QueryEvent::parse(&body).unwrap();
        assert_eq!((event.status.flags2, event.status.unknown), (Some(1), Some(77)));
        assert!(event.is("begin"));
    }

    #[test]
    fn a_cut_event_is_damaged() {
        let body = body(&[0, 1, 0, 0, 0], "shop", "");
        for length in 0..body.len() {
            assert!(QueryEvent::parse(&body[..length]).is_err());
        }
    }
}
