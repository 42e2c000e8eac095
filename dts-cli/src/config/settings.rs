//! Settings that may be changed while a task runs: `dts set NAME load.rows_per_second_max=N`.
use dts_core::data::Gtid;
use dts_core::error::{Error, Result};
use dts_core::full_loader::RateLimit;
use dts_core::migration::MigrationOptions;
use serde_json::{Map, Value};

/// The key of the task file for the limit of rows per second.
const ROWS_PER_SECOND_MAX: &str = "load.rows_per_second_max";
/// The schema changes that an operator has carried out by hand; set by `dts resume --skip-ddl`, not by `dts set`.
const SKIP_DDL: &str = "skip_ddl";

/// Settings that differ from the task file. Those that are `None` are as the task file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    rows_per_second_max: Option<u64>,
    /// As text, the way GTIDs are printed.
    skip_ddl: Vec<Gtid>,
}

impl Settings {
    /// Reads what was typed: `key=value` each.
    ///
    /// # Errors
    /// [`InvalidInput`](dts_core::error::ErrorKind::InvalidInput) with what may be set.
    pub(crate) fn parse(words: &[String]) -> Result<Self> {
        let mut settings = Settings::default();
        for word in words {
            let wrong = || {
                let expected =
                    format!("{ROWS_PER_SECOND_MAX}=N, a whole number of rows per second (0 = no limit)");
                Error::invalid("the setting", word.as_str(), expected)
                    .with_hint("Only limits can be changed while a task runs. Other keys: pause the task, change the task \
                                file, and run or resume it.")
            };
            let (key, value) = word.split_once('=').ok_or_else(wrong)?;
            if key.trim() != ROWS_PER_SECOND_MAX {
                return Err(wrong());
            }
            settings.rows_per_second_max = Some(value.trim().replace('_', "").parse().map_err(|_| wrong())?);
        }
        Ok(settings)
    }

    /// Leaves out schema changes that were carried out by hand.
    pub(crate) fn skipping(gtids: &[Gtid]) -> Self {
        Settings { skip_ddl: gtids.to_vec(), ..Settings::default() }
    }

    /// Reads what [`to_json`](Self::to_json) wrote; what is not known is left out.
    pub(crate) fn from_json(value: &Value) -> Self {
        let gtids = value[SKIP_DDL].as_array().into_iter().flatten();
        Settings {
            rows_per_second_max: value[ROWS_PER_SECOND_MAX].as_u64(),
            skip_ddl: gtids.filter_map(|gtid| gtid.as_str()?.parse().ok()).collect(),
        }
    }

    /// Reads what was kept as text.
    pub(crate) fn from_text(text: Option<&str>) -> Self {
        text.and_then(|text| serde_json::from_str(text).ok())
            .map_or_else(Settings::default, |value: Value| Settings::from_json(&value))
    }

    /// Returns the settings by their keys.
    pub(crate) fn to_json(&self) -> Value {
        let mut map = Map::new();
        if let Some(rows) = self.rows_per_second_max {
            map.insert(ROWS_PER_SECOND_MAX.to_owned(), rows.into());
        }
        if !self.skip_ddl.is_empty() {
            let gtids: Vec<String> = self.skip_ddl.iter().map(Gtid::to_string).collect();
            map.insert(SKIP_DDL.to_owned(), gtids.into());
        }
        Value::Object(map)
    }

    /// Takes over what `changes` says.
    pub(crate) fn merge(&mut self, changes: &Settings) {
        self.rows_per_second_max = changes.rows_per_second_max.or(self.rows_per_second_max);
        for gtid in &changes.skip_ddl {
            if !self.skip_ddl.contains(gtid) {
                self.skip_ddl.push(gtid.clone());
            }
        }
    }

    /// Prepares a run for what cannot be changed in its middle.
    pub(crate) fn prepare(&self, options: &mut MigrationOptions) {
        options.apply.skip_ddl.extend(self.skip_ddl.iter().cloned());
    }

    /// Makes a run keep to the settings, at once.
    pub(crate) fn apply(&self, limit: &RateLimit) {
        if let Some(rows) = self.rows_per_second_max {
            limit.set(rows);
        }
    }

    /// Returns the settings as they are typed, for people; empty when nothing differs.
    pub(crate) fn in_words(&self) -> String {
        let mut words = Vec::new();
        words.extend(self.rows_per_second_max.map(|rows| format!("{ROWS_PER_SECOND_MAX}={rows}")));
        words.extend(self.skip_ddl.iter().map(|gtid| format!("{SKIP_DDL}={gtid}")));
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_schema_changes_are_kept_once_each() {
        let gtid: Gtid = "3e11fa47-71ca-11e1-9e33-c80aa9429562:23".parse().unwrap();
        let mut all = Settings::skipping(std::slice::from_ref(&gtid));
        all.merge(&Settings::skipping(std::slice::from_ref(&gtid)));
        assert_eq!(Settings::from_text(Some(&all.to_json().to_string())), all);
        assert_eq!(all.in_words(), "skip_ddl=3e11fa47-71ca-11e1-9e33-c80aa9429562:23");
    }

    #[test]
    fn settings_are_typed_kept_and_merged() {
        let parse = |word: &str| Settings::parse(&[word.to_owned()]);
        let settings = parse("load.rows_per_second_max=1_000").unwrap();
        assert_eq!(settings.in_words(), "load.rows_per_second_max=1000");
        assert_eq!(Settings::from_text(Some(&settings.to_json().to_string())), settings);
        let mut all = Settings::default();
        all.merge(&settings);
        all.merge(&Settings::default());
        assert_eq!(all, settings);
        let limit = RateLimit::new(5);
        Settings::default().apply(&limit);
        assert_eq!(limit.get(), 5);
        all.apply(&limit);
        assert_eq!(limit.get(), 1000);
        for wrong in ["", "load.threads=3", "load.rows_per_second_max", "load.rows_per_second_max=-1"] {
            let error = parse(wrong).unwrap_err();
            assert!(error.to_string().contains("load.rows_per_second_max=N"), "{error}");
        }
    }
}
