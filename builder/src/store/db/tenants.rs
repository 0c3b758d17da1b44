//! Namespaces, and the tokens that open them.

use sha2::{Digest as _, Sha256};
use sqlx::Row as _;

use super::{Db, DbError, now_ms};
use crate::names::Namespace;

/// A token, without its secret.
#[derive(Debug, Clone)]
pub struct Token {
    /// Its id, for revoking it.
    pub id: String,
    /// Whom it stands for.
    pub user: String,
    /// May do everything.
    pub admin: bool,
    /// May use these namespaces.
    pub namespaces: Vec<Namespace>,
    /// Milliseconds since 1970.
    pub created: i64,
}

fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}

impl Db {
    /// Makes a namespace; nothing happens when it is there.
    pub async fn create_namespace(&self, namespace: &Namespace) -> Result<(), DbError> {
        sqlx::query("insert or ignore into namespaces (name, created) values (?, ?)")
            .bind(namespace.as_str())
            .bind(now_ms())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// All namespaces with the time they were made (milliseconds since 1970), by name.
    pub async fn namespaces(&self) -> Result<Vec<(Namespace, i64)>, DbError> {
        let rows: Vec<(String, i64)> =
            sqlx::query_as("select name, created from namespaces order by name").fetch_all(&self.pool).await?;
        rows.into_iter().map(|(name, created)| Ok((parse(&name)?, created))).collect()
    }

    /// Whether there is such a namespace.
    pub async fn has_namespace(&self, namespace: &Namespace) -> Result<bool, DbError> {
        let row = sqlx::query("select 1 from namespaces where name = ?")
            .bind(namespace.as_str())
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.is_some())
    }

    /// Keeps the hash of a token's secret.
    pub async fn add_token(&self, token: &Token, secret: &str) -> Result<(), DbError> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query("insert into tokens (id, hash, \"user\", admin, created) values (?, ?, ?, ?, ?)")
            .bind(&token.id)
            .bind(hash(secret))
            .bind(&token.user)
            .bind(token.admin)
            .bind(token.created)
            .execute(&mut *transaction)
            .await?;
        for namespace in &token.namespaces {
            sqlx::query("insert or ignore into token_namespaces (token, namespace) values (?, ?)")
                .bind(&token.id)
                .bind(namespace.as_str())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// The token with this secret.
    pub async fn token_by_secret(&self, secret: &str) -> Result<Option<Token>, DbError> {
        // Looked up by hash: no comparison whose time depends on the secret.
        let row = sqlx::query("select id, \"user\", admin, created from tokens where hash = ?")
            .bind(hash(secret))
            .fetch_optional(&self.pool)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let id: String = row.try_get(0)?;
        let namespaces = self.token_namespaces(&id).await?;
        Ok(Some(Token { user: row.try_get(1)?, admin: row.try_get(2)?, created: row.try_get(3)?, id, namespaces }))
    }

    /// All tokens, oldest first.
    pub async fn tokens(&self) -> Result<Vec<Token>, DbError> {
        let rows: Vec<(String, String, bool, i64)> =
            sqlx::query_as("select id, \"user\", admin, created from tokens order by created")
                .fetch_all(&self.pool)
                .await?;
        let mut tokens = Vec::with_capacity(rows.len());
        for (id, user, admin, created) in rows {
            let namespaces = self.token_namespaces(&id).await?;
            tokens.push(Token { id, user, admin, namespaces, created });
        }
        Ok(tokens)
    }

    /// Ends a token; `false` when there is none with this id.
    pub async fn revoke_token(&self, id: &str) -> Result<bool, DbError> {
        Ok(sqlx::query("delete from tokens where id = ?").bind(id).execute(&self.pool).await?.rows_affected() > 0)
    }

    async fn token_namespaces(&self, id: &str) -> Result<Vec<Namespace>, DbError> {
        let rows: Vec<(String,)> =
            sqlx::query_as("select namespace from token_namespaces where token = ? order by namespace")
                .bind(id)
                .fetch_all(&self.pool)
                .await?;
        rows.iter().map(|(name,)| parse(name)).collect()
    }
}

fn parse(name: &str) -> Result<Namespace, DbError> {
    name.parse().map_err(|error: crate::names::InvalidName| DbError::Invalid(error.to_string()))
}
