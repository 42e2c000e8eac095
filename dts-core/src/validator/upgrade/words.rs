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

const REMOVED_FUNCTIONS: [(ServerVersion, &[&str]); 2] = [
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
            "LINEFROMTEXT",
            "LINEFROMWKB",
            "MLINEFROMTEXT",
            "MLINEFROMWKB",
            "MPOINTFROMTEXT",
            "MPOINTFROMWKB",
            "MPOLYFROMTEXT",
            "MPOLYFROMWKB",
            "NUMGEOMETRIES",
            "NUMINTERIORRINGS",
            "NUMPOINTS",
            "OVERLAPS",
            "POINTFROMTEXT",
            "POINTFROMWKB",
            "POINTN",
            "POLYFROMTEXT",
            "POLYFROMWKB",
            "SRID",
            "STARTPOINT",
            "TOUCHES",
            "WITHIN",
        ],
    ),
    (ServerVersion(9, 6, 0), &["MD5", "SHA", "SHA1"]),
];

/// The functions that the target no longer has and the source has.
pub(super) fn functions_removed_between(source: &ServerFacts, target: &ServerFacts) -> Vec<&'static str> {
    REMOVED_FUNCTIONS
        .iter()
        .filter(|(since, _)| crosses(source, target, *since))
        .flat_map(|(_, names)| names.iter().copied())
        .collect()
}
