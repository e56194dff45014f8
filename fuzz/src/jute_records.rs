//! Every record of a wire or a file, decoded from any bytes: what decodes is encoded, and decodes to the same value.

use bytes::BytesMut;
use ferrokeeper::{
    jute::{self, Limits, Ustring},
    proto::{
        Acl, Stat,
        client::{
            AuthPacket, ConnectRequest, ConnectResponse, CreateRequest, CreateTtlRequest, MultiHeader,
            PathRequest, PathVersionRequest, ReadRequest, ReconfigRequest, ReplyHeader, RequestHeader,
            SetAclRequest, SetDataRequest, WatchRequest,
        },
        data::{StatPersisted, WireAcl},
        txn::{
            CheckVersionTxn, CreateContainerTxn, CreateSessionTxn, CreateTtlTxn, CreateTxn, DeleteTxn,
            ErrorTxn, MultiTxn, SetAclTxn, SetDataTxn, SubTxn, TxnHeader,
        },
    },
};

pub fn run(data: &[u8]) {
    let tight = Limits { max_field: 16, ..Limits::default() };
    // What a client sends and what a server has written are read by different rules.
    for limits in [Limits::default(), Limits::default().for_files(), tight] {
        every_record(data, limits);
    }
    if let Ok((request, read_only)) = ConnectRequest::decode(data, Limits::default()) {
        let length = 28 + request.passwd.map_or(0, |p| p.len());
        assert_eq!(read_only.is_some(), data.len() > length);
    }
}

macro_rules! round_trips {
    ($data:ident, $limits:ident: $($record:ty),* $(,)?) => {$(
        if let Ok((value, rest)) = jute::take_from_bytes::<$record>($data, $limits) {
            assert!($data.ends_with(rest));
            let mut out = BytesMut::new();
            jute::put(&mut out, &value);
            // What was written is read as a file is: a client's rules do not read pairs of surrogates back.
            let (again, rest) = jute::take_from_bytes::<$record>(&out, Limits::default().for_files())
                .unwrap_or_else(|e| panic!("{value:?} is written as what cannot be read: {e}"));
            assert_eq!(again, value);
            assert!(rest.is_empty(), "{value:?}");
        }
    )*};
}

fn every_record(data: &[u8], limits: Limits) {
    round_trips!(data, limits:
        Acl, Stat, StatPersisted, WireAcl<'_>, Vec<WireAcl<'_>>, Option<Vec<Option<Ustring<'_>>>>,
        ConnectRequest<'_>, ConnectResponse<'_>, RequestHeader, ReplyHeader, MultiHeader, AuthPacket<'_>,
        ReadRequest<'_>, PathRequest<'_>, WatchRequest<'_>, ReconfigRequest<'_>,
        CreateRequest<'_>, CreateTtlRequest<'_>, PathVersionRequest<'_>, SetDataRequest<'_>, SetAclRequest<'_>,
        TxnHeader, CreateTxn<'_>, CreateContainerTxn<'_>, CreateTtlTxn<'_>, DeleteTxn<'_>, SetDataTxn<'_>,
        SetAclTxn<'_>, CheckVersionTxn<'_>, CreateSessionTxn, ErrorTxn, SubTxn<'_>, MultiTxn<'_>,
    );
}
