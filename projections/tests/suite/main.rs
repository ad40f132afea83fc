//! The read models on every engine: what they answer, how they are kept up, built anew and compared.

#![cfg(test)]

/// Makes a test of each function, on every engine, with an empty read store of its own.
macro_rules! on_every_engine {
    ($($name:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(&$crate::common::Engine::sqlite()).await;
            })+
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(&$crate::common::Engine::postgres().await).await;
            })+
        }
    };
}

mod checking;
mod common;
mod erasing;
mod reading;
mod rebuilding;
mod running;
