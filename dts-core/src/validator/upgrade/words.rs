//! Words that versions of MySQL reserved, and functions that they removed.
use super::crosses;
use crate::server::{ServerFacts, ServerVersion};

/// When each word became reserved. Words of MySQL Shell's check, and those that it misses (8.4 and 9.x).
const RESERVED: [(ServerVersion, &[&str]); 7] = [
    (ServerVersion(5, 7, 6), &["GENERATED", "OPTIMIZER_COSTS", "STORED", "VIRTUAL"]),
    (
        ServerVersion(8, 0, 11),
        &[
            "ADMIN",
            "CUBE",
            "CUME_DIST",
            "DENSE_RANK",
            "EMPTY",
            "EXCEPT",
            "FIRST_VALUE",
            "FUNCTION",
            "GROUPING",
            "GROUPS",
            "JSON_TABLE",
            "LAG",
            "LAST_VALUE",
            "LEAD",
            "NTH_VALUE",
            "NTILE",
            "OF",
            "OVER",
            "PERCENT_RANK",
            "PERSIST",
            "PERSIST_ONLY",
            "RANK",
            "RECURSIVE",
            "ROW",
            "ROWS",
            "ROW_NUMBER",
            "SYSTEM",
            "WINDOW",
        ],
    ),
    (ServerVersion(8, 0, 14), &["LATERAL"]),
    (ServerVersion(8, 0, 17), &["ARRAY", "MEMBER"]),
    (ServerVersion(8, 0, 31), &["FULL", "INTERSECT"]),
    (ServerVersion(8, 4, 0), &["MANUAL", "PARALLEL", "QUALIFY", "TABLESAMPLE"]),
    (ServerVersion(9, 4, 0), &["EXTERNAL", "LIBRARY"]),
];

/// The words that the target reserves and the source does not.
pub(in crate::validator) fn words_reserved_between(
    source: &ServerFacts,
    target: &ServerFacts,
) -> Vec<&'static str> {
    RESERVED
        .iter()
        .filter(|(since, _)| crosses(source, target, *since))
        .flat_map(|(_, words)| words.iter().copied())
        .collect()
}

/// When each function was removed. Those of 5.6 were called on 5.6.24 and on 9.7.4; CONVEXHULL and JSON_APPEND came with 5.7.
const REMOVED_FUNCTIONS: [(ServerVersion, &[&str]); 4] = [
    (ServerVersion(5, 7, 5), &["OLD_PASSWORD"]),
    (
        ServerVersion(8, 0, 11),
        &[
            "ENCODE",
            "DECODE",
            "ENCRYPT",
            "DES_ENCRYPT",
            "DES_DECRYPT",
            "PASSWORD",
            "AREA",
            "ASBINARY",
            "ASTEXT",
            "ASWKB",
            "ASWKT",
            "BUFFER",
            "CENTROID",
            "CONTAINS",
            "CONVEXHULL",
            "CROSSES",
            "DIMENSION",
            "DISJOINT",
            "DISTANCE",
            "ENDPOINT",
            "ENVELOPE",
            "EQUALS",
            "EXTERIORRING",
            "GEOMCOLLFROMTEXT",
            "GEOMCOLLFROMWKB",
            "GEOMETRYCOLLECTIONFROMTEXT",
            "GEOMETRYCOLLECTIONFROMWKB",
            "GEOMETRYFROMTEXT",
            "GEOMETRYFROMWKB",
            "GEOMETRYN",
            "GEOMETRYTYPE",
            "GEOMFROMTEXT",
            "GEOMFROMWKB",
            "GLENGTH",
            "INTERIORRINGN",
            "INTERSECTS",
            "ISCLOSED",
            "ISEMPTY",
            "ISSIMPLE",
            "JSON_APPEND",
            "LINEFROMTEXT",
            "LINEFROMWKB",
            "LINESTRINGFROMTEXT",
            "LINESTRINGFROMWKB",
            "MBREQUAL",
            "MLINEFROMTEXT",
            "MLINEFROMWKB",
            "MPOINTFROMTEXT",
            "MPOINTFROMWKB",
            "MPOLYFROMTEXT",
            "MPOLYFROMWKB",
            "MULTILINESTRINGFROMTEXT",
            "MULTILINESTRINGFROMWKB",
            "MULTIPOINTFROMTEXT",
            "MULTIPOINTFROMWKB",
            "MULTIPOLYGONFROMTEXT",
            "MULTIPOLYGONFROMWKB",
            "NUMGEOMETRIES",
            "NUMINTERIORRINGS",
            "NUMPOINTS",
            "OVERLAPS",
            "POINTFROMTEXT",
            "POINTFROMWKB",
            "POINTN",
            "POLYFROMTEXT",
            "POLYFROMWKB",
            "POLYGONFROMTEXT",
            "POLYGONFROMWKB",
            "SRID",
            "STARTPOINT",
            "TOUCHES",
            "WITHIN",
            "X",
            "Y",
        ],
    ),
    (ServerVersion(8, 3, 0), &["WAIT_UNTIL_SQL_THREAD_AFTER_GTIDS"]),
    (ServerVersion(9, 6, 0), &["MD5", "SHA", "SHA1"]),
];

/// The functions that the target no longer has and the source has.
pub(in crate::validator) fn functions_removed_between(
    source: &ServerFacts,
    target: &ServerFacts,
) -> Vec<&'static str> {
    removals_between(source, target).flat_map(|(_, names)| names.iter().copied()).collect()
}

/// The version of the first removal between source and target; without one that of the last of all.
pub(super) fn first_removal(source: &ServerFacts, target: &ServerFacts) -> ServerVersion {
    let last = REMOVED_FUNCTIONS[REMOVED_FUNCTIONS.len() - 1].0;
    removals_between(source, target).next().map_or(last, |(since, _)| *since)
}

fn removals_between(
    source: &ServerFacts,
    target: &ServerFacts,
) -> impl Iterator<Item = &'static (ServerVersion, &'static [&'static str])> {
    REMOVED_FUNCTIONS.iter().filter(|(since, _)| crosses(source, target, *since))
}
