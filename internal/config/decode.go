package config

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

type (
	checker   interface{ Check() error }
	defaulter interface{ SetDefaults() }
	shortener interface{ Scalar(text string) error }
)

var (
	typeFile       = reflect.TypeFor[File]()
	typePath       = reflect.TypeFor[Path]()
	typeSecretFile = reflect.TypeFor[SecretFile]()
	typeDuration   = reflect.TypeFor[time.Duration]()
)

// decoder fills Go values from YAML nodes and collects every mistake.
type decoder struct {
	name, dir string
	openFiles bool
	passOver  bool // keys that are not known
	errs      []error
	finish    []func() // checks, inner values first; run when there are no mistakes
}

func (d *decoder) fail(tk *token.Token, key string, err error) {
	d.errs = append(d.errs, located(d.name, key, tk, err))
}

func (d *decoder) failf(n ast.Node, key, format string, args ...any) {
	d.fail(startOf(n), key, fmt.Errorf(format, args...))
}

// value decodes n into dst, which must be settable.
func (d *decoder) value(dst reflect.Value, n ast.Node, key string) {
	switch n.Type() {
	case ast.AnchorType, ast.AliasType, ast.MergeKeyType:
		d.failf(n, key, "anchors, aliases and merges are not supported: write the value out")
		return
	case ast.TagType:
		d.failf(n, key, "tags are not supported: write the value alone")
		return
	}
	if dst.Kind() == reflect.Pointer {
		if n.Type() == ast.NullType {
			dst.SetZero()
			return
		}
		if dst.IsNil() {
			dst.Set(reflect.New(dst.Type().Elem()))
		}
		d.value(dst.Elem(), n, key)
		return
	}
	if h, ok := dst.Addr().Interface().(defaulter); ok {
		h.SetDefaults()
	}
	before := len(d.errs)
	d.kind(dst, n, key)
	if h, ok := dst.Addr().Interface().(checker); ok && len(d.errs) == before {
		d.finish = append(d.finish, func() { d.check(h, n, key) })
	}
}

func (d *decoder) kind(dst reflect.Value, n ast.Node, key string) {
	switch u := dst.Addr().Interface().(type) {
	case yaml.BytesUnmarshaler, yaml.InterfaceUnmarshaler:
		if err := yaml.NodeToValue(n, u, yaml.Strict()); err != nil {
			d.fail(startOf(n), key, err)
		}
		return
	case encoding.TextUnmarshaler:
		text, ok := d.scalar(n, key, describe(dst.Type()))
		if !ok {
			return
		}
		if err := u.UnmarshalText([]byte(text)); err != nil {
			d.fail(startOf(n), key, explain(dst.Type(), text, err))
		}
		return
	}
	if dst.Type() == typeDuration {
		var v Duration
		d.kind(reflect.ValueOf(&v).Elem(), n, key)
		dst.SetInt(int64(v))
		return
	}
	switch dst.Kind() {
	case reflect.Struct:
		if h, ok := dst.Addr().Interface().(shortener); ok {
			if _, isScalar := n.(ast.ScalarNode); isScalar && n.Type() != ast.NullType {
				d.short(h, n, key)
				return
			}
		}
		d.structure(dst, n, key)
	case reflect.Slice:
		d.list(dst, n, key)
	case reflect.Map:
		d.mapping(dst, n, key)
	case reflect.String:
		if text, ok := d.scalar(n, key, "a text"); ok {
			dst.SetString(text)
			d.fileName(dst, n, key)
		}
	case reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			d.failf(n, key, "expected true or false, found %s", found(n))
			return
		}
		dst.SetBool(b.Value)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		d.integer(dst, n, key)
	case reflect.Float32, reflect.Float64:
		d.float(dst, n, key)
	default:
		d.failf(n, key, "cannot be read into %s", dst.Type())
	}
}

// short lets a struct be written as one scalar.
func (d *decoder) short(h shortener, n ast.Node, key string) {
	text, ok := d.scalar(n, key, "a text")
	if !ok {
		return
	}
	if err := h.Scalar(text); err != nil {
		d.fail(startOf(n), key, err)
	}
}

// scalar returns a scalar's text as written, without quotes.
func (d *decoder) scalar(n ast.Node, key, want string) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return strings.TrimSpace(n.GetToken().Value), true
	}
	d.failf(n, key, "expected %s, found %s", want, found(n))
	return "", false
}

func (d *decoder) integer(dst reflect.Value, n ast.Node, key string) {
	in, ok := n.(*ast.IntegerNode)
	if !ok {
		d.failf(n, key, "expected a whole number, found %s", found(n))
		return
	}
	var fits bool
	switch v := in.Value.(type) {
	case int64:
		if dst.CanInt() {
			if fits = !dst.OverflowInt(v); fits {
				dst.SetInt(v)
			}
		} else if fits = v >= 0 && !dst.OverflowUint(uint64(v)); fits {
			dst.SetUint(uint64(v))
		}
	case uint64:
		if dst.CanInt() {
			if fits = v <= math.MaxInt64 && !dst.OverflowInt(int64(v)); fits {
				dst.SetInt(int64(v))
			}
		} else if fits = !dst.OverflowUint(v); fits {
			dst.SetUint(v)
		}
	}
	if !fits {
		low, high := limits(dst)
		d.failf(n, key, "%s is out of range: expected %s to %s", in.GetToken().Value, low, high)
	}
}

func limits(dst reflect.Value) (low, high string) {
	bits := dst.Type().Bits()
	if dst.CanInt() {
		return strconv.FormatInt(math.MinInt64>>(64-bits), 10), strconv.FormatInt(math.MaxInt64>>(64-bits), 10)
	}
	return "0", strconv.FormatUint(math.MaxUint64>>(64-bits), 10)
}

func (d *decoder) float(dst reflect.Value, n ast.Node, key string) {
	switch n.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		v, err := strconv.ParseFloat(strings.ReplaceAll(n.GetToken().Value, "_", ""), 64)
		if err == nil && !dst.OverflowFloat(v) {
			dst.SetFloat(v)
			return
		}
	}
	d.failf(n, key, "expected a number, found %s", found(n))
}

func (d *decoder) list(dst reflect.Value, n ast.Node, key string) {
	if n.Type() == ast.NullType {
		dst.SetZero()
		return
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.failf(n, key, "expected a list, found %s", found(n))
		return
	}
	out := reflect.MakeSlice(dst.Type(), len(seq.Values), len(seq.Values))
	for i, v := range seq.Values {
		d.value(out.Index(i), v, fmt.Sprintf("%s[%d]", key, i))
	}
	dst.Set(out)
}

func (d *decoder) mapping(dst reflect.Value, n ast.Node, key string) {
	if n.Type() == ast.NullType {
		dst.SetZero()
		return
	}
	pairs, ok := d.pairs(n, key)
	if !ok {
		return
	}
	if dst.Type().Key().Kind() != reflect.String {
		d.failf(n, key, "cannot be read into %s", dst.Type())
		return
	}
	out := reflect.MakeMapWithSize(dst.Type(), len(pairs))
	dst.Set(out)
	for _, p := range pairs {
		elem := reflect.New(dst.Type().Elem()).Elem()
		d.value(elem, p.value, join(key, p.name))
		name := reflect.ValueOf(p.name).Convert(dst.Type().Key())
		d.finish = append(d.finish, func() { out.SetMapIndex(name, elem) }) // after elem's own checks
	}
}

func (d *decoder) structure(dst reflect.Value, n ast.Node, key string) {
	var pairs []pair
	if n.Type() != ast.NullType { // "dad:" alone is a section without keys
		var ok bool
		if pairs, ok = d.pairs(n, key); !ok {
			return
		}
	}
	fields := fieldsOf(dst.Type())
	given := map[string]bool{}
	for _, p := range pairs {
		f, ok := fields[p.name]
		if !ok && d.passOver {
			continue
		}
		if !ok {
			d.fail(p.key.GetToken(), join(key, p.name), unknownKey(p.name, fields))
			continue
		}
		given[p.name] = p.value.Type() != ast.NullType
		d.value(dst.FieldByIndex(f.index), p.value, join(key, p.name))
	}
	for _, name := range sortedKeys(fields) {
		f := fields[name]
		v := dst.FieldByIndex(f.index)
		switch {
		case f.required && !given[name]:
			d.failf(n, join(key, name), "is missing: expected %s", describe(v.Type()))
		case f.required && v.Kind() == reflect.String && v.Len() == 0:
			d.failf(n, join(key, name), "is empty: expected %s", describe(v.Type()))
		case !given[name]:
			d.absent(v)
		}
	}
}

// absent gives a section that the file leaves out its defaults. Its Check does
// not run: whether it may be left out is for the struct above to say.
func (d *decoder) absent(v reflect.Value) {
	if v.Kind() != reflect.Struct {
		return
	}
	if h, ok := v.Addr().Interface().(defaulter); ok {
		h.SetDefaults()
	}
	if _, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return
	}
	for _, f := range fieldsOf(v.Type()) {
		d.absent(v.FieldByIndex(f.index))
	}
}

// fileName makes a relative file reference relative to the configuration file,
// and opens it when asked to.
func (d *decoder) fileName(dst reflect.Value, n ast.Node, key string) {
	t := dst.Type()
	if t != typeFile && t != typePath && t != typeSecretFile || dst.Len() == 0 {
		return
	}
	if !filepath.IsAbs(dst.String()) {
		dst.SetString(filepath.Join(d.dir, dst.String()))
	}
	if !d.openFiles {
		return
	}
	switch t {
	case typeFile:
		file, err := os.Open(dst.String())
		if err != nil {
			d.fail(startOf(n), key, err)
			return
		}
		file.Close()
	case typeSecretFile:
		secret, err := SecretFile(dst.String()).Load()
		if err != nil {
			d.fail(startOf(n), key, err)
			return
		}
		secret.Clear()
	}
}

// check runs a hook and puts its complaints at the keys they are about.
func (d *decoder) check(h checker, n ast.Node, key string) {
	for _, err := range flatten(h.Check()) {
		var field *FieldError
		if errors.As(err, &field) && err == error(field) {
			d.fail(startOf(lookup(n, field.Key)), join(key, field.Key), field.Err)
			continue
		}
		d.fail(startOf(n), key, err)
	}
}
