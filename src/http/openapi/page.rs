//! The document as one page of HTML: nothing is fetched, nothing runs.

use std::fmt::Write;

use serde_json::{Map, Value};

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}\
h2{margin-top:3rem;border-bottom:1px solid #ccc}\
section{margin:1.5rem 0;padding:.5rem 1rem;border:1px solid #ddd;border-radius:6px}\
section h3{margin:.2rem 0;font-size:1rem}\
.method{display:inline-block;min-width:4.5rem;font-weight:bold;color:#064}\
code,pre{font:14px ui-monospace,monospace}\
pre{overflow-x:auto;background:#f6f6f6;padding:.8rem;border-radius:6px}\
table{border-collapse:collapse;margin:.5rem 0;width:100%}\
td{border-top:1px solid #eee;padding:.2rem .8rem .2rem 0;vertical-align:top}\
nav a{margin-right:1rem}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}section{border-color:#444}\
pre{background:#242424}td{border-color:#333}.method{color:#6c9}a{color:#8bf}}";

/// The groups, in the order of the page.
const GROUPS: [&str; 5] = ["Inventory", "Reservations", "Queries", "Events", "Cluster and health"];

pub fn render(document: &Value) -> String {
    let mut page = String::new();
    let info = &document["info"];
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style><h1>{title} {version}</h1>\
         <p>{description}</p><nav>",
        title = text(&info["title"]),
        version = text(&info["version"]),
        description = text(&info["description"]),
    );
    for group in GROUPS {
        let _ = write!(page, "<a href=\"#{}\">{group}</a>", group.replace(' ', "-"));
    }
    page.push_str("<a href=\"#schemas\">Schemas</a><a href=\"openapi.json\">openapi.json</a></nav>");
    for group in GROUPS {
        let _ = write!(page, "<h2 id=\"{}\">{group}</h2>", group.replace(' ', "-"));
        for (path, calls) in members(&document["paths"]) {
            for (method, call) in members(calls).filter(|(_, call)| call["tags"][0] == group) {
                write_call(&mut page, path, method, call);
            }
        }
    }
    page.push_str("<h2 id=\"schemas\">Schemas</h2>");
    for (name, schema) in members(&document["components"]["schemas"]) {
        let shown = serde_json::to_string_pretty(schema).unwrap_or_default();
        let _ = write!(page, "<section id=\"{name}\"><h3>{name}</h3><pre>{}</pre></section>", escape(&shown));
    }
    page.push_str("</html>");
    page
}

fn write_call(page: &mut String, path: &str, method: &str, call: &Value) {
    let _ = write!(
        page,
        "<section id=\"{id}\"><h3><span class=\"method\">{method}</span><code>{path}</code></h3><p>{summary}</p>",
        id = text(&call["operationId"]),
        method = method.to_uppercase(),
        path = escape(path),
        summary = text(&call["summary"]),
    );
    page.push_str("<table>");
    for parameter in call["parameters"].as_array().into_iter().flatten() {
        let required = if parameter["required"] == true { ", required" } else { "" };
        let _ = write!(
            page,
            "<tr><td><code>{}</code><td>{}{required}<td>{}<td>{}",
            text(&parameter["name"]),
            text(&parameter["in"]),
            schema_link(&parameter["schema"]),
            text(&parameter["description"]),
        );
    }
    page.push_str("</table>");
    for (media_type, body) in members(&call["requestBody"]["content"]) {
        let _ = write!(page, "<p>Body: <code>{media_type}</code> {}</p>", schema_link(&body["schema"]));
    }
    page.push_str("<table>");
    for (status, response) in members(&call["responses"]) {
        let _ = write!(page, "<tr><td><code>{status}</code><td>{}<td>", text(&response["description"]));
        for (media_type, body) in members(&response["content"]) {
            let _ = write!(page, "<code>{media_type}</code> {} ", schema_link(&body["schema"]));
        }
    }
    page.push_str("</table></section>");
}

/// The name of a schema, leading to it; a schema without a name as it is.
fn schema_link(schema: &Value) -> String {
    let schema = schema.get("allOf").map_or(schema, |all| &all[0]);
    match schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        Some(name) => format!("<a href=\"#{name}\">{name}</a>"),
        None if schema.is_null() => String::new(),
        None => format!("<code>{}</code>", escape(&schema.to_string())),
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
