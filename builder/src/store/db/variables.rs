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

/// How much one owner may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Variables.
    pub count: u32,
    /// Bytes of their values, encrypted.
    pub bytes: u32,
}

/// What came of a wish to set one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetVariable {
    /// It is set.
    Done,
    /// There would be too many.
    TooMany,
    /// There would be too many bytes.
    TooManyBytes,
}

impl Db {
    /// Sets a variable of an owner, who may have at most so many, and so many bytes of encrypted values.
    pub async fn set_variable(
        &self,
        (scope, owner): (&str, &str),
        name: &str,
        sealed: &[u8],
        kind: &str,
        limits: Limits,
    ) -> Result<SetVariable, DbError> {
        let mut transaction = self.pool.begin().await?;
        let set = sqlx::query(
            "insert into variables (scope, owner, name, sealed, kind, updated)
             select ?1, ?2, ?3, ?4, ?5, ?6
             where (select count(*) < ?7 and coalesce(sum(length(sealed)), 0) + length(?4) <= ?8
                    from variables where scope = ?1 and owner = ?2 and name <> ?3)
             on conflict (scope, owner, name)
             do update set sealed = excluded.sealed, kind = excluded.kind, updated = excluded.updated",
        );
        let set = set.bind(scope).bind(owner).bind(name).bind(sealed).bind(kind).bind(now_ms());
        let set = set.bind(limits.count).bind(limits.bytes);
        if set.execute(&mut *transaction).await?.rows_affected() > 0 {
            transaction.commit().await?;
            return Ok(SetVariable::Done);
        }
        let count = sqlx::query_scalar("select count(*) from variables where scope = ? and owner = ? and name <> ?");
        let count: u32 = count.bind(scope).bind(owner).bind(name).fetch_one(&mut *transaction).await?;
        Ok(if count < limits.count { SetVariable::TooManyBytes } else { SetVariable::TooMany })
    }

    /// Removes one; whether it was there.
    pub async fn unset_variable(&self, (scope, owner): (&str, &str), name: &str) -> Result<bool, DbError> {
        let unset = sqlx::query("delete from variables where scope = ? and owner = ? and name = ?");
        Ok(unset.bind(scope).bind(owner).bind(name).execute(&self.pool).await?.rows_affected() > 0)
    }

    /// Those of an owner, by name, as far as they are within these limits.
    pub async fn variables(&self, (scope, owner): (&str, &str), limits: Limits) -> Result<Vec<VariableRow>, DbError> {
        let query = sqlx::query_as(
            "select name, sealed, kind, updated from
             (select *, sum(length(sealed)) over (order by name) as bytes from variables where scope = ? and owner = ?)
             where bytes <= ? order by name limit ?",
        );
        Ok(query.bind(scope).bind(owner).bind(limits.bytes).bind(limits.count).fetch_all(&self.pool).await?)
    }

    /// One of an owner's.
    pub async fn variable(&self, (scope, owner): (&str, &str), name: &str) -> Result<Option<VariableRow>, DbError> {
        let query = sqlx::query_as(
            "select name, sealed, kind, updated from variables where scope = ? and owner = ? and name = ?",
        );
        Ok(query.bind(scope).bind(owner).bind(name).fetch_optional(&self.pool).await?)
    }
}
