//! The serde Deserializer, on nom's number parsers.

use nom::{
    IResult, Parser,
    bytes::complete::take,
    number::complete::{be_f32, be_f64, be_i8, be_i32, be_i64, be_u8},
};
use serde::de::{self, DeserializeSeed, SeqAccess, Visitor};

use super::{Error, Limits, text};

/// Decodes one record from the front of `input`; bytes behind it are ignored (B§1.2).
pub fn from_bytes<'de, T: de::Deserialize<'de>>(input: &'de [u8], limits: Limits) -> Result<T, Error> {
    take_from_bytes(input, limits).map(|(value, _)| value)
}

/// Decodes one record and returns what follows it.
pub fn take_from_bytes<'de, T: de::Deserialize<'de>>(
    input: &'de [u8],
    limits: Limits,
) -> Result<(T, &'de [u8]), Error> {
    let mut de = Deserializer::new(input, limits);
    let value = T::deserialize(&mut de)?;
    Ok((value, de.rest))
}

pub struct Deserializer<'de> {
    rest: &'de [u8],
    total: usize,
    limits: Limits,
}

impl<'de> Deserializer<'de> {
    pub fn new(input: &'de [u8], limits: Limits) -> Self {
        Deserializer { rest: input, total: input.len(), limits }
    }

    /// What has not been decoded yet.
    pub fn rest(&self) -> &'de [u8] {
        self.rest
    }

    fn at(&self) -> usize {
        self.total - self.rest.len()
    }

    #[inline]
    fn parse<O>(&mut self, mut parser: impl FnMut(&'de [u8]) -> IResult<&'de [u8], O>) -> Result<O, Error> {
        match parser(self.rest) {
            Ok((rest, value)) => {
                self.rest = rest;
                Ok(value)
            }
            Err(_) => Err(Error::Truncated { at: self.total }),
        }
    }

    #[inline]
    fn int(&mut self) -> Result<i32, Error> {
        self.parse(|i| be_i32.parse(i))
    }

    /// A length word: `None` for null, else a length that fits the limit and what is left.
    #[inline]
    fn length(&mut self) -> Result<Option<usize>, Error> {
        let at = self.at();
        let length = self.int()?;
        match usize::try_from(length) {
            Err(_) if length == -1 => Ok(None),
            Ok(n) if n <= self.limits.max_field => Ok(Some(n)),
            _ => Err(Error::Length { length: length.into(), at }),
        }
    }

    #[inline]
    fn buffer(&mut self) -> Result<&'de [u8], Error> {
        let at = self.at();
        let n = self.length()?.ok_or(Error::Null { at })?;
        self.parse(take(n))
    }

    /// Null is a −1 word; anything else is left for the value's own decoder.
    #[inline]
    fn is_null(&mut self) -> Result<bool, Error> {
        let before = self.rest;
        if self.int()? == -1 {
            return Ok(true);
        }
        self.rest = before;
        Ok(false)
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $parser:ident),* $(,)?) => {$(
        #[inline]
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.parse(|i| $parser.parse(i))?)
        }
    )*};
}

macro_rules! no_such_type {
    ($($method:ident($($arg:ident: $ty:ty),*)),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, $($arg: $ty,)* _visitor: V) -> Result<V::Value, Error> {
            $(let _ = $arg;)*
            Err(Error::Record(concat!("jute has no ", stringify!($method)).to_owned()))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for &mut Deserializer<'de> {
    type Error = Error;

    numbers! {
        deserialize_i8 visit_i8 be_i8,
        deserialize_u8 visit_u8 be_u8,
        deserialize_i32 visit_i32 be_i32,
        deserialize_i64 visit_i64 be_i64,
        deserialize_f32 visit_f32 be_f32,
        deserialize_f64 visit_f64 be_f64,
    }

    #[inline]
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.parse(|i| be_u8.parse(i))? != 0)
    }

    #[inline]
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let bytes = self.buffer()?;
        match std::str::from_utf8(bytes) {
            Ok(text) => visitor.visit_borrowed_str(text),
            Err(_) => visitor.visit_string(text::decode_lossy(bytes, self.limits.joins_surrogates)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    #[inline]
    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_bytes(self.buffer()?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    #[inline]
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null()? { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    #[inline]
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    /// Any count ≤ 0 reads as empty (`BinaryIndex.done`); a null vector is told apart by `Option<Vec<_>>`.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let count = self.int()?;
        let left = usize::try_from(count).unwrap_or(0);
        visitor.visit_seq(Items { de: self, left })
    }

    #[inline]
    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Items { de: self, left: len })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(len, visitor)
    }

    #[inline]
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(fields.len(), visitor)
    }

    no_such_type! {
        deserialize_any(), deserialize_i16(), deserialize_u16(), deserialize_u32(), deserialize_u64(),
        deserialize_char(), deserialize_map(), deserialize_identifier(), deserialize_ignored_any(),
        deserialize_enum(_name: &'static str, _variants: &'static [&'static str]),
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

struct Items<'a, 'de> {
    de: &'a mut Deserializer<'de>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    #[inline]
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.de).map(Some)
    }

    /// Never more than what is left could hold: a count is a peer's claim.
    #[inline]
    fn size_hint(&self) -> Option<usize> {
        Some(self.left.min(self.de.rest.len()))
    }
}
