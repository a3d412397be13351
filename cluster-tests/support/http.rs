//! The contract as a client without any help sees it: a status, headers, and bytes.

use std::time::{Duration, Instant};

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

/// Longer than any deadline of the server's own: what takes longer than this hangs.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);
/// Within which writes succeed once a majority is connected: for so long a request is sent again where the contract has clients
/// do that.
const DECIDED_WITHIN: Duration = Duration::from_secs(10);
const SENT_AGAIN_AFTER: Duration = Duration::from_millis(100);

pub fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(ANSWERED_WITHIN).build().expect("a client without TLS")
}

/// One node's client port.
#[derive(Clone)]
pub struct Api {
    client: reqwest::Client,
    address: String,
}

impl Api {
    pub fn new(client: &reqwest::Client, address: &str) -> Api {
        Api { client: client.clone(), address: address.to_owned() }
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub fn put(&self, path: &str, body: &Value) -> Call {
        self.call(Method::PUT, path).json(body)
    }

    pub fn post(&self, path: &str, body: &Value) -> Call {
        self.call(Method::POST, path).json(body)
    }

    pub fn call(&self, method: Method, path: &str) -> Call {
        Call {
            client: self.client.clone(),
            what: format!("{method} {path} at {}", self.address),
            method,
            url: format!("http://{}{path}", self.address),
            headers: HeaderMap::new(),
            body: None,
            timeout: ANSWERED_WITHIN,
        }
    }
}

/// A request that can be sent more than once.
#[derive(Clone)]
pub struct Call {
    client: reqwest::Client,
    what: String,
    method: Method,
    url: String,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
    timeout: Duration,
}

impl Call {
    pub fn json(self, body: &Value) -> Call {
        self.body("application/json", body.to_string())
    }

    /// A body as it is, well-formed or not.
    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Call {
        self.body = Some(body.into());
        self.header("content-type", content_type)
    }

    pub fn without_content_type(mut self) -> Call {
        self.headers.remove("content-type");
        self
    }

    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Call {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
        let value = HeaderValue::from_bytes(value.as_ref()).expect("a header's value");
        self.headers.insert(name, value);
        self
    }

    pub fn key(self, key: &str) -> Call {
        self.header("idempotency-key", key)
    }

    pub fn timeout(mut self, timeout: Duration) -> Call {
        self.timeout = timeout;
        self
    }

    /// The answer, or in words why none came.
    pub async fn send(&self) -> Result<Answer, String> {
        let mut request = self
            .client
            .request(self.method.clone(), &self.url)
            .headers(self.headers.clone())
            .timeout(self.timeout);
        if let Some(body) = &self.body {
            request = request.body(body.clone());
        }
        let lost = |error: reqwest::Error| format!("{}: {}", self.what, with_causes(&error));
        let response = request.send().await.map_err(lost)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.map_err(lost)?.to_vec();
        Ok(Answer { what: self.what.clone(), status, headers, body })
    }

    /// The answer; no answer is a failure.
    pub async fn answer(&self) -> Answer {
        self.send().await.unwrap_or_else(|lost| panic!("no answer: {lost}"))
    }

    /// The answer once it is decided, or one of this status. A machine that stands still for a second may cost a leader its
    /// lead at any moment; a client goes on when none leads, and sends what is unknown again under its key.
    async fn decided(&self, status: u16) -> Answer {
        let until = Instant::now() + DECIDED_WITHIN;
        let is_safe = ![Method::POST, Method::PATCH].contains(&self.method)
            || self.headers.contains_key("idempotency-key");
        loop {
            let answer = self.answer().await;
            let is_open = answer.status == 503
                && match &*answer.code() {
                    "no_leader" => true,
                    "outcome_unknown" => is_safe,
                    _ => false,
                };
            if answer.status == status || !is_open || Instant::now() > until {
                return answer;
            }
            eprintln!("sent again: {}", answer.in_words());
            tokio::time::sleep(SENT_AGAIN_AFTER).await;
        }
    }

    /// The JSON of an answer of this status; any other status is a failure.
    pub async fn expect(&self, status: u16) -> Value {
        let answer = self.decided(status).await;
        assert_eq!(answer.status, status, "{}", answer.in_words());
        answer.json()
    }

    /// The problem of a refusal of this status and code, checked for the shape that every refusal has.
    pub async fn refused(&self, status: u16, code: &str) -> Map<String, Value> {
        let answer = self.decided(status).await;
        assert_eq!(answer.status, status, "expected {code}: {}", answer.in_words());
        let problem = answer.problem();
        assert_eq!(problem["code"], code, "{}", answer.in_words());
        problem
    }
}

pub struct Answer {
    what: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; an empty body is `null`.
    pub fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.in_words()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("a header in ASCII"))
    }

    /// `Innkeeper-LSN`.
    pub fn lsn(&self) -> u64 {
        self.header("innkeeper-lsn")
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("no Innkeeper-LSN: {}", self.in_words()))
    }

    pub fn replayed(&self) -> bool {
        self.header("idempotent-replayed") == Some("true")
    }

    /// The code of a refusal, empty where the answer is none.
    pub fn code(&self) -> String {
        let problem: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        problem["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The members that RFC 9457 and the contract ask of every refusal are there and agree with the status line.
    pub fn problem(&self) -> Map<String, Value> {
        let words = self.in_words();
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{words}");
        let Value::Object(problem) = self.json() else { panic!("a problem is an object: {words}") };
        assert_eq!(problem["status"], self.status, "{words}");
        for member in ["type", "title", "detail", "code"] {
            let text = problem.get(member).and_then(Value::as_str).unwrap_or_default();
            assert!(!text.is_empty(), "`{member}` is missing: {words}");
        }
        let detail = problem["detail"].as_str().expect("checked above");
        for internal in ["panicked", "src/", ".rs:", "openraft", "serde"] {
            assert!(!detail.contains(internal), "the detail shows an internal name: {words}");
        }
        problem
    }

    /// Request, status and the beginning of the body, for a failure's message.
    pub fn in_words(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        let shown: String = body.chars().take(2_000).collect();
        format!("{} → {} {shown}", self.what, self.status)
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        words = format!("{words}: {deeper}");
        cause = deeper.source();
    }
    words
}
