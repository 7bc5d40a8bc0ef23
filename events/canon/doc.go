// Package canon reads JSON in the one form in which encoding/json writes a
// struct: its fields in their order, without spaces. What it takes means to it
// just what it means to encoding/json; what has another form, or holds what is
// rare, it does not take, and its caller leaves it to encoding/json.
//
// Nearly all that the log and the streams hold has that form: this program
// wrote it. To read a year of it is some ten times faster so.
package canon
