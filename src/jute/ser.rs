//! The serde Serializer, appending to a `BytesMut`.

use bytes::{BufMut, BytesMut};
use serde::ser::{self, Serialize};

use super::{Error, text};

/// Appends `value` to `out`. Records that this crate declares cannot fail to encode: every sequence knows its length.
#[inline]
pub fn put<T: Serialize + ?Sized>(out: &mut BytesMut, value: &T) {
    let result = value.serialize(Serializer { out });
    debug_assert!(result.is_ok(), "record cannot be encoded: {result:?}");
}

/// A jute string, for callers that write field by field.
pub fn put_string(out: &mut BytesMut, value: &str) {
    text::put_cesu8(out, value);
}

/// A jute buffer; `None` is null.
#[inline]
pub fn put_bytes(out: &mut BytesMut, value: Option<&[u8]>) {
    match value {
        None => out.put_i32(-1),
        Some(bytes) => {
            out.put_i32(bytes.len() as i32);
            out.put_slice(bytes);
        }
    }
}

pub struct Serializer<'a> {
    pub out: &'a mut BytesMut,
}

macro_rules! numbers {
    ($($method:ident $ty:ty, $put:ident);* $(;)?) => {$(
        #[inline]
        fn $method(self, v: $ty) -> Result<(), Error> {
            self.out.$put(v);
            Ok(())
        }
    )*};
}

macro_rules! no_such_type {
    ($($method:ident($($ty:ty),*)),* $(,)?) => {$(
        fn $method(self, $(_: $ty),*) -> Result<(), Error> {
            Err(Error::Record(concat!("jute has no ", stringify!($method)).to_owned()))
        }
    )*};
}

impl<'a> ser::Serializer for Serializer<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Fields<'a>;
    type SerializeTuple = Fields<'a>;
    type SerializeTupleStruct = Fields<'a>;
    type SerializeTupleVariant = ser::Impossible<(), Error>;
    type SerializeMap = ser::Impossible<(), Error>;
    type SerializeStruct = Fields<'a>;
    type SerializeStructVariant = ser::Impossible<(), Error>;

    numbers! {
        serialize_i8 i8, put_i8;
        serialize_u8 u8, put_u8;
        serialize_i32 i32, put_i32;
        serialize_i64 i64, put_i64;
        serialize_f32 f32, put_f32;
        serialize_f64 f64, put_f64;
    }

    no_such_type! {
        serialize_i16(i16), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64), serialize_char(char),
        serialize_unit_variant(&'static str, u32, &'static str),
    }

    #[inline]
    fn serialize_bool(self, v: bool) -> Result<(), Error> {
        self.out.put_u8(v.into());
        Ok(())
    }

    #[inline]
    fn serialize_str(self, v: &str) -> Result<(), Error> {
        text::put_cesu8(self.out, v);
        Ok(())
    }

    #[inline]
    fn serialize_bytes(self, v: &[u8]) -> Result<(), Error> {
        put_bytes(self.out, Some(v));
        Ok(())
    }

    #[inline]
    fn serialize_none(self) -> Result<(), Error> {
        self.out.put_i32(-1);
        Ok(())
    }

    #[inline]
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        Ok(())
    }

    #[inline]
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Error> {
        Err(Error::Record("jute has no enums".to_owned()))
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Fields<'a>, Error> {
        let len = len.ok_or_else(|| Error::Record("a vector must know its length".to_owned()))?;
        self.out.put_i32(len as i32);
        Ok(Fields { out: self.out })
    }

    fn serialize_tuple(self, _: usize) -> Result<Fields<'a>, Error> {
        Ok(Fields { out: self.out })
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Fields<'a>, Error> {
        Ok(Fields { out: self.out })
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Error> {
        Err(Error::Record("jute has no enums".to_owned()))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Error> {
        Err(Error::Record("jute has no maps".to_owned()))
    }

    #[inline]
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Fields<'a>, Error> {
        Ok(Fields { out: self.out })
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Error> {
        Err(Error::Record("jute has no enums".to_owned()))
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

pub struct Fields<'a> {
    out: &'a mut BytesMut,
}

macro_rules! fields {
    ($($trait:ident $method:ident),* $(,)?) => {$(
        impl ser::$trait for Fields<'_> {
            type Ok = ();
            type Error = Error;
            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                value.serialize(Serializer { out: self.out })
            }
            #[inline]
            fn end(self) -> Result<(), Error> {
                Ok(())
            }
        }
    )*};
}

fields! { SerializeSeq serialize_element, SerializeTuple serialize_element, SerializeTupleStruct serialize_field }

impl ser::SerializeStruct for Fields<'_> {
    type Ok = ();
    type Error = Error;
    #[inline]
    fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), Error> {
        value.serialize(Serializer { out: self.out })
    }
    #[inline]
    fn end(self) -> Result<(), Error> {
        Ok(())
    }
}
