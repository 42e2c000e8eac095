//! Tables for unit tests: each test says what matters to it, by struct update, and leaves the rest.
use super::{Column, ColumnKind, TableName, TableSchema};

impl Column {
    /// A nullable column without a character set.
    pub(crate) fn example(name: &str, kind: ColumnKind) -> Self {
        Column {
            name: name.into(),
            kind,
            type_text: String::new(),
            nullable: true,
            unsigned: false,
            charset: None,
            collation: None,
            generated: false,
            invisible: false,
            auto_increment: false,
        }
    }
}

impl TableSchema {
    /// The InnoDB table `d.table` with these columns, without rows or indexes.
    pub(crate) fn example(table: &str, columns: Vec<Column>) -> Self {
        TableSchema {
            name: TableName::new("d", table),
            columns,
            indexes: Vec::new(),
            foreign_keys: Vec::new(),
            engine: "InnoDB".into(),
            charset: "utf8mb4".into(),
            collation: "utf8mb4_bin".into(),
            rows_estimated: 0,
            data_bytes: 0,
            index_bytes: 0,
            partitioned: false,
        }
    }
}
