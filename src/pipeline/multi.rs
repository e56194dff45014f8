//! The request records of multi, with the re-typing that Java's decoding does (B§2.8; `MultiTransactionRecord`, `Op`).

use crate::{
    jute::{self, Limits},
    proto::{
        OpCode,
        client::{
            CreateMode, CreateRequest, CreateTtlRequest, MultiHeader, PathVersionRequest, ReadRequest,
            SetDataRequest,
        },
    },
};

/// One write of a multi. `Create` holds what the flags made of it, whatever the header's type was.
#[derive(Debug)]
pub enum MultiOp<'a> {
    Create {
        kind: OpCode,
        request: CreateRequest<'a>,
    },
    CreateTtl(CreateTtlRequest<'a>),
    Delete(PathVersionRequest<'a>),
    SetData(SetDataRequest<'a>),
    Check(PathVersionRequest<'a>),
    /// 1 or 15 with a TTL flag: Java casts the request to the wrong class, and the whole multi fails with −5.
    Unpreparable {
        has_path: bool,
    },
}

impl MultiOp<'_> {
    pub fn has_path(&self) -> bool {
        match self {
            MultiOp::Create { request, .. } => request.path.is_some(),
            MultiOp::CreateTtl(request) => request.path.is_some(),
            MultiOp::Delete(request) | MultiOp::Check(request) => request.path.is_some(),
            MultiOp::SetData(request) => request.path.is_some(),
            MultiOp::Unpreparable { has_path } => *has_path,
        }
    }
}

/// Decodes a multi request; an illegal type or a short record fails the whole of it.
pub fn decode(body: &[u8], limits: Limits) -> Result<Vec<MultiOp<'_>>, jute::Error> {
    let mut ops = Vec::new();
    let (mut header, mut rest): (MultiHeader, _) = jute::take_from_bytes(body, limits)?;
    while !header.done {
        let (op, after) = decode_op(header, rest, limits)?;
        ops.push(op);
        (header, rest) = jute::take_from_bytes(after, limits)?;
    }
    Ok(ops)
}

fn decode_op<'a>(
    header: MultiHeader,
    rest: &'a [u8],
    limits: Limits,
) -> Result<(MultiOp<'a>, &'a [u8]), jute::Error> {
    Ok(match OpCode(header.kind) {
        OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_CONTAINER => {
            let (request, rest): (CreateRequest<'_>, _) = jute::take_from_bytes(rest, limits)?;
            (retype(request), rest)
        }
        OpCode::CREATE_TTL => {
            let (request, rest): (CreateTtlRequest<'_>, _) = jute::take_from_bytes(rest, limits)?;
            match CreateMode::from_flag(request.flags) {
                Some(mode) if mode.is_ttl() => (MultiOp::CreateTtl(request), rest),
                // The ttl is dropped with the type.
                _ => {
                    let CreateTtlRequest { path, data, acl, flags, ttl: _ } = request;
                    (retype(CreateRequest { path, data, acl, flags }), rest)
                }
            }
        }
        OpCode::DELETE => jute::take_from_bytes(rest, limits).map(|(r, rest)| (MultiOp::Delete(r), rest))?,
        OpCode::SET_DATA => {
            jute::take_from_bytes(rest, limits).map(|(r, rest)| (MultiOp::SetData(r), rest))?
        }
        OpCode::CHECK => jute::take_from_bytes(rest, limits).map(|(r, rest)| (MultiOp::Check(r), rest))?,
        other => return Err(jute::Error::Record(format!("{other:?} cannot be part of a multi"))),
    })
}

fn retype(request: CreateRequest<'_>) -> MultiOp<'_> {
    match CreateMode::from_flag(request.flags) {
        Some(mode) if mode.is_ttl() => MultiOp::Unpreparable { has_path: request.path.is_some() },
        Some(CreateMode::Container) => MultiOp::Create { kind: OpCode::CREATE_CONTAINER, request },
        _ => MultiOp::Create { kind: OpCode::CREATE, request },
    }
}

/// One read of a multiRead (3.6+).
#[derive(Debug)]
pub enum MultiReadOp<'a> {
    GetData(ReadRequest<'a>),
    GetChildren(ReadRequest<'a>),
}

/// Decodes a multiRead request; anything but the two reads fails the whole of it.
pub fn decode_reads(body: &[u8], limits: Limits) -> Result<Vec<MultiReadOp<'_>>, jute::Error> {
    let mut ops = Vec::new();
    let (mut header, mut rest): (MultiHeader, _) = jute::take_from_bytes(body, limits)?;
    while !header.done {
        let op = OpCode(header.kind);
        if !matches!(op, OpCode::GET_DATA | OpCode::GET_CHILDREN) {
            return Err(jute::Error::Record(format!("{op:?} cannot be part of a multiRead")));
        }
        let (request, after) = jute::take_from_bytes(rest, limits)?;
        ops.push(if op == OpCode::GET_DATA {
            MultiReadOp::GetData(request)
        } else {
            MultiReadOp::GetChildren(request)
        });
        (header, rest) = jute::take_from_bytes(after, limits)?;
    }
    Ok(ops)
}
