//! The tensors of a file of weights by their names. Knows the file's form; knows nothing of what they are for.

use safetensors::{Dtype, SafeTensors};

/// A parsed file.
pub(crate) struct Weights<'a>(SafeTensors<'a>);

impl<'a> Weights<'a> {
    /// Reads the file's table of contents.
    ///
    /// # Errors
    /// When it is no such file, or tensors lie outside it.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        SafeTensors::deserialize(bytes).map(Self).map_err(|error| error.to_string())
    }

    /// The numbers of a tensor that must have this shape.
    ///
    /// # Errors
    /// When there is none, or it has another shape or other numbers than `f32`.
    pub(crate) fn of(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
        let tensor = self.0.tensor(name).map_err(|error| error.to_string())?;
        if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
            return Err(format!("{name} is {:?} of {:?}, not F32 of {shape:?}", tensor.dtype(), tensor.shape()));
        }
        let (numbers, _) = tensor.data().as_chunks::<4>();
        Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// How many rows the tensor has.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn rows(&self, name: &str) -> Result<usize, String> {
        let tensor = self.0.tensor(name).map_err(|error| error.to_string())?;
        Ok(tensor.shape().first().copied().unwrap_or_default())
    }
}
