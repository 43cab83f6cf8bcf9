"""What tests share. Importing it has the shapes in the package's signatures checked."""

from .shapes import install

install()
