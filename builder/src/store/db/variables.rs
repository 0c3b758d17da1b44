//! Variables that the service keeps, their values encrypted.

use super::{Db, DbError, now_ms};

/// One variable, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct VariableRow {
    /// Its name.
    pub name: String,
    /// Its value, encrypted.
    pub sealed: Vec<u8>,
    /// `masked`, `plain` or `secret`.
    pub kind: String,
    /// When it was set, in milliseconds since 1970.
    pub updated: i64,
}

impl Db {
    /// Sets a variable of an owner, who may have at most so many; `false`: that would be more.
    pub async fn set_variable(
        &self,
        (scope, owner): (&str, &str),
        name: &str,
        sealed: &[u8],
        kind: &str,
        limit: u32,
    ) -> Result<bool, DbError> {
        let set = sqlx::query(
            "insert into variables (scope, owner, name, sealed, kind, updated)
             select ?1, ?2, ?3, ?4, ?5, ?6
             where (select count(*) from variables where scope = ?1 and owner = ?2 and name <> ?3) < ?7
             on conflict (scope, owner, name)
             do update set sealed = excluded.sealed, kind = excluded.kind, updated = excluded.updated",
        );
        let set = set.bind(scope).bind(owner).bind(name).bind(sealed).bind(kind).bind(now_ms()).bind(limit);
        Ok(set.execute(&self.pool).await?.rows_affected() > 0)
    }

    /// Removes one; whether it was there.
    pub async fn unset_variable(&self, (scope, owner): (&str, &str), name: &str) -> Result<bool, DbError> {
        let unset = sqlx::query("delete from variables where scope = ? and owner = ? and name = ?");
        Ok(unset.bind(scope).bind(owner).bind(name).execute(&self.pool).await?.rows_affected() > 0)
    }

    /// Those of an owner, by name.
    pub async fn variables(&self, (scope, owner): (&str, &str)) -> Result<Vec<VariableRow>, DbError> {
        let query = sqlx::query_as(
            "select name, sealed, kind, updated from variables where scope = ? and owner = ? order by name",
        );
        Ok(query.bind(scope).bind(owner).fetch_all(&self.pool).await?)
    }

    /// One of an owner's.
    pub async fn variable(&self, (scope, owner): (&str, &str), name: &str) -> Result<Option<VariableRow>, DbError> {
        let query = sqlx::query_as(
            "select name, sealed, kind, updated from variables where scope = ? and owner = ? and name = ?",
        );
        Ok(query.bind(scope).bind(owner).bind(name).fetch_optional(&self.pool).await?)
    }
}
