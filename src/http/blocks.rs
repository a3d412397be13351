//! Blocks (allotments): rooms of a type that are kept for a group or a partner.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::access::{counted_range, write};
use super::extract::{Params, Segments, json};
use super::fields::word;
use super::lists::list_apart;
use super::problem::Problem;
use super::render;
use crate::ledger::{BlockId, BlockStatus, Command, Date, Ledger, PropertyId, PutBlock, RoomTypeId};
use crate::node::Node;
use crate::wire;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BlockFields {
    room_type: RoomTypeId,
    from: Date,
    to: Date,
    rooms: u32,
    #[serde(deserialize_with = "word")]
    status: BlockStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    release_date: Option<Date>,
}

pub async fn put(
    State(node): State<Arc<Node>>,
    segments: Segments,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let fields: BlockFields = json(request).await?;
    let property: PropertyId = segments.get(0, "property")?;
    let block: BlockId = segments.get(1, "block")?;
    counted_range(fields.from, fields.to)?;
    let path = [property.as_str(), block.as_str()];
    let command = Command::PutBlock(PutBlock {
        property: property.clone(),
        block: block.clone(),
        room_type: fields.room_type.clone(),
        from: fields.from,
        to: fields.to,
        rooms: fields.rooms,
        status: fields.status,
        release_date: fields.release_date,
    });
    write(&node, &headers, "put_block", &path, &fields, command).await
}

pub async fn list(
    State(node): State<Arc<Node>>,
    segments: Segments,
    request: Request,
) -> Result<Response, Problem> {
    let property: PropertyId = segments.get(0, "property")?;
    // Each is shown night by night.
    let list = move |ledger: &Ledger| {
        Ok(wire::Blocks { blocks: ledger.blocks(&property)?.iter().map(render::block).collect() })
    };
    list_apart(&node, Params::of(request.uri())?, list).await
}
