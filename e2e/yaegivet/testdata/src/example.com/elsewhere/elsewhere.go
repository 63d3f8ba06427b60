// Package elsewhere is not of the standard library.
package elsewhere

// Name is its name.
const Name = "elsewhere"
