package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxFile bounds a configuration file, in octets.
const maxFile = 1 << 20

// Load reads the YAML file at path into a T, a struct. The error holds one
// [*Error] per mistake, joined. On an error the zero T comes back, never a
// half-filled one.
func Load[T any](path string) (T, error) {
	var zero, out T
	text, err := readFile(path)
	if err != nil {
		return zero, err
	}
	if err := load(path, text, reflect.ValueOf(&out).Elem(), decoder{}); err != nil {
		return zero, err
	}
	return out, nil
}

// Peek is Load that passes over keys that T does not know: for who reads a
// configuration that is another program's.
func Peek[T any](path string) (T, error) {
	text, err := readFile(path)
	if err != nil {
		var zero T
		return zero, err
	}
	return PeekText[T](path, text)
}

// PeekText is Peek from memory, see [Parse].
func PeekText[T any](name string, text []byte) (T, error) {
	var zero, out T
	if err := load(name, text, reflect.ValueOf(&out).Elem(), decoder{passOver: true}); err != nil {
		return zero, err
	}
	return out, nil
}

// Parse is Load from memory; name stands for the file in errors, and relative
// file references are relative to its folder.
func Parse[T any](name string, text []byte) (T, error) {
	var zero, out T
	if err := load(name, text, reflect.ValueOf(&out).Elem(), decoder{}); err != nil {
		return zero, err
	}
	return out, nil
}

// CheckFiles is Load that also opens every [File] and loads every [SecretFile]
// the configuration names, and puts what fails at the key that named it. It is
// meant for --check.
func CheckFiles[T any](path string) error {
	var out T
	text, err := readFile(path)
	if err != nil {
		return err
	}
	return load(path, text, reflect.ValueOf(&out).Elem(), decoder{openFiles: true})
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("config: %s is larger than %d bytes, which no configuration is", path, maxFile)
	}
	return text, nil
}

func load(name string, text []byte, dst reflect.Value, d decoder) error {
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return fromParser(name, err)
	}
	var body ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.CommentType:
		case body != nil:
			return located(name, "", startOf(doc.Body), errors.New("a second document starts here: expected one document a file"))
		default:
			body = doc.Body
		}
	}
	if body == nil {
		return &Error{File: name, Err: errors.New("the file is empty: expected a YAML mapping")}
	}
	d.name, d.dir = name, filepath.Dir(name)
	d.value(dst, body, "")
	if len(d.errs) == 0 {
		for _, finish := range d.finish {
			finish()
		}
	}
	return errors.Join(d.errs...)
}
