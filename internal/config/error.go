package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/printer"
	"github.com/goccy/go-yaml/token"
)

// Error is one mistake in a configuration file. Line and Column count from 1;
// zero means that the mistake has no place (an empty file).
type Error struct {
	File         string
	Line, Column int
	Key          string // dotted path of the key, as in radius.servers[0].address; may be empty
	Err          error  // what is wrong
	Excerpt      string // some lines of the file with the place marked; may be empty
}

// Error writes file:line:column: key: what is wrong, and the excerpt below it.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Column)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key)
		b.WriteString(": ")
	}
	b.WriteString(e.Err.Error())
	if e.Excerpt != "" {
		b.WriteString("\n")
		b.WriteString(e.Excerpt)
	}
	return b.String()
}

// Unwrap returns what is wrong, without the place.
func (e *Error) Unwrap() error { return e.Err }

// FieldError is what a Check hook returns to point at a key below it.
type FieldError struct {
	Key string // relative to the checked struct, as in servers[0].address
	Err error
}

// Error writes key: what is wrong.
func (e *FieldError) Error() string { return e.Key + ": " + e.Err.Error() }

// Unwrap returns what is wrong.
func (e *FieldError) Unwrap() error { return e.Err }

// At says that err is about the key (dotted, relative to the checked struct:
// "servers[0].address"). A nil err stays nil.
func At(key string, err error) error {
	if err == nil {
		return nil
	}
	return &FieldError{Key: key, Err: err}
}

// Errorf is At with a new error.
func Errorf(key, format string, args ...any) error {
	return &FieldError{Key: key, Err: fmt.Errorf(format, args...)}
}

// flatten spreads joined errors.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, e := range joined.Unwrap() {
			out = append(out, flatten(e)...)
		}
		return out
	}
	return []error{err}
}

// located makes an Error that points at a token, nil for none.
func located(file, key string, tk *token.Token, err error) *Error {
	e := &Error{File: file, Key: key, Err: err}
	if tk == nil || tk.Position == nil {
		return e
	}
	e.Line, e.Column = tk.Position.Line, tk.Position.Column
	var p printer.Printer
	e.Excerpt = strings.TrimRight(p.PrintErrorToken(tk, false), "\n ")
	return e
}

// fromParser turns the parser's error, which carries a token, into ours.
func fromParser(file string, err error) error {
	var carrier interface {
		GetToken() *token.Token
		GetMessage() string
	}
	if errors.As(err, &carrier) {
		return located(file, "", carrier.GetToken(), errors.New(carrier.GetMessage()))
	}
	return &Error{File: file, Err: err}
}

// startOf is the token a reader would point at for a node: the first key of a
// mapping instead of its colon.
func startOf(n ast.Node) *token.Token {
	switch n := n.(type) {
	case nil:
		return nil
	case *ast.MappingNode:
		if len(n.Values) > 0 && !n.IsFlowStyle {
			return n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return n.GetToken()
}
