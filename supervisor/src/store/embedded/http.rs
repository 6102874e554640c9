//! The HTTP client: the machine's own certificates, proxies from the environment, and patience with whoever is slow as
//! long as something arrives.

use std::env;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ureq::http::Uri;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::typestate::WithoutBody;
use ureq::{Agent, Proxy, RequestBuilder};

/// The client of one store, made when it is first needed: most starts fetch nothing.
#[derive(Clone)]
pub(super) struct Client {
    connect: Duration,
    stall: Duration,
    connections: usize,
    agent: Arc<OnceLock<Agent>>,
}

impl Client {
    pub(super) fn new(connect: Duration, stall: Duration, connections: usize) -> Self {
        Self { connect, stall, connections, agent: Arc::default() }
    }

    /// A request for an address, to be called.
    pub(super) fn get(&self, url: &str) -> RequestBuilder<WithoutBody> {
        let agent = self.agent.get_or_init(|| http_agent(self.connect, self.stall, self.connections));
        http_get(agent, url)
    }
}

/// A client that gives up on a connection that is not there after `connect`, and on one that is silent after `stall`.
pub(crate) fn http_agent(connect: Duration, stall: Duration, connections: usize) -> Agent {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls =
        TlsConfig::builder().unversioned_rustls_crypto_provider(provider).root_certs(certificates()).build();
    Agent::config_builder()
        .tls_config(tls)
        .user_agent(concat!("sonde/", env!("CARGO_PKG_VERSION")))
        .http_status_as_error(false)
        .proxy(None) // see http_get
        .timeout_resolve(Some(connect))
        .timeout_connect(Some(connect))
        .timeout_recv_response(Some(stall))
        .timeout_per_read(Some(stall))
        .max_idle_connections(connections)
        .max_idle_connections_per_host(connections)
        .build()
        .into()
}

/// A request for an address, by the proxy that the environment has for it. Left to itself ureq would take one proxy for
/// all, `https_proxy` for `http://` as well; curl, and so Nix, would not.
pub(crate) fn http_get(agent: &Agent, url: &str) -> RequestBuilder<WithoutBody> {
    agent.get(url).config().proxy(proxy_for(url)).build()
}

fn proxy_for(url: &str) -> Option<Proxy> {
    // Knows no_proxy, whichever of its proxies it is.
    let any = Proxy::try_from_env()?;
    if url.parse::<Uri>().is_ok_and(|uri| any.is_no_proxy(&uri)) {
        return None;
    }
    let own =
        if url.starts_with("https:") { ["https_proxy", "HTTPS_PROXY"] } else { ["http_proxy", "HTTP_PROXY"] };
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let value = own.into_iter().chain(["all_proxy", "ALL_PROXY"]).find_map(set)?;
    // Without the value, which may hold a password.
    Proxy::new(&value).map_err(|error| tracing::warn!(%error, "the proxy cannot be used")).ok()
}

/// The machine's certificates; `SSL_CERT_FILE` names others, as does Nix's own variable.
fn certificates() -> RootCerts {
    static FOUND: OnceLock<RootCerts> = OnceLock::new();
    FOUND.get_or_init(find_certificates).clone()
}

fn find_certificates() -> RootCerts {
    let named = ["NIX_SSL_CERT_FILE", "SSL_CERT_FILE"].into_iter().find_map(env::var_os);
    let found = match named {
        Some(file) => rustls_native_certs::load_certs_from_paths(Some(Path::new(&file)), None),
        None => rustls_native_certs::load_native_certs(),
    };
    for error in &found.errors {
        tracing::warn!(%error, "a certificate cannot be used");
    }
    let certificates: Vec<_> =
        found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    RootCerts::new_with_certs(&certificates)
}
