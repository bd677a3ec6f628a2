package config

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// pair is one key of a mapping.
type pair struct {
	name  string
	key   ast.Node
	value ast.Node
}

func (d *decoder) pairs(n ast.Node, key string) ([]pair, bool) {
	list, ok := pairsOf(n)
	if !ok {
		d.failf(n, key, "expected keys with values, found %s", found(n))
		return nil, false
	}
	for _, p := range list {
		switch p.key.Type() {
		case ast.MergeKeyType:
			d.failf(p.key, key, "anchors, aliases and merges are not supported: write the values out")
			ok = false
		case ast.MappingKeyType:
			d.failf(p.key, key, "expected a plain key, found a key in the form \"? key\"")
			ok = false
		}
	}
	return list, ok
}

func pairsOf(n ast.Node) ([]pair, bool) {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		return nil, false
	}
	out := make([]pair, 0, len(values))
	for _, v := range values {
		out = append(out, pair{name: v.Key.GetToken().Value, key: v.Key, value: v.Value})
	}
	return out, true
}

// lookup finds the node of a dotted key below n; where the key leads nowhere,
// the nearest node above it.
func lookup(n ast.Node, key string) ast.Node {
	for step := range strings.SplitSeq(key, ".") {
		name, rest, _ := strings.Cut(step, "[")
		if name != "" {
			list, _ := pairsOf(n)
			i := slices.IndexFunc(list, func(p pair) bool { return p.name == name })
			if i < 0 {
				return n
			}
			n = list[i].value
		}
		for rest != "" {
			var index string
			index, rest, _ = strings.Cut(rest, "]")
			rest = strings.TrimPrefix(rest, "[")
			seq, ok := n.(*ast.SequenceNode)
			i, err := strconv.Atoi(index)
			if !ok || err != nil || i < 0 || i >= len(seq.Values) {
				return n
			}
			n = seq.Values[i]
		}
	}
	return n
}

// field is one key a struct knows.
type field struct {
	index    []int
	required bool
}

func fieldsOf(t reflect.Type) map[string]field {
	out := map[string]field{}
	for i := range t.NumField() {
		f := t.Field(i)
		tag, ok := f.Tag.Lookup("yaml")
		if !ok {
			tag = f.Tag.Get("json")
		}
		if tag == "-" || !f.IsExported() {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		opts := strings.Split(options, ",")
		if slices.Contains(opts, "inline") && f.Type.Kind() == reflect.Struct {
			for inner, g := range fieldsOf(f.Type) {
				out[inner] = field{index: append([]int{i}, g.index...), required: g.required}
			}
			continue
		}
		if name == "" {
			name = strings.ToLower(f.Name)
		}
		out[name] = field{index: []int{i}, required: slices.Contains(opts, "required")}
	}
	return out
}

func sortedKeys(m map[string]field) []string { return slices.Sorted(maps.Keys(m)) }

func unknownKey(name string, fields map[string]field) error {
	known := sortedKeys(fields)
	best, dist := "", 3 // at most two letters away
	for _, k := range known {
		if n := distance(name, k); n < dist && n < len(name) {
			best, dist = k, n
		}
	}
	if best != "" {
		return fmt.Errorf("unknown key: did you mean %q?", best)
	}
	return fmt.Errorf("unknown key: expected one of %s", strings.Join(known, ", "))
}

// distance is the edit distance of two short words; long ones count as far.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func join(key, name string) string {
	if key == "" || strings.HasPrefix(name, "[") {
		return key + name
	}
	return key + "." + name
}

// found says what a node is, in the reader's words.
func found(n ast.Node) string {
	switch n := n.(type) {
	case *ast.NullNode:
		return "nothing"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a group of keys"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode:
		return "the text " + strconv.Quote(shorten(n.Value))
	case *ast.LiteralNode:
		return "a block of text"
	}
	return strings.TrimSpace(shorten(n.GetToken().Value))
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "..."
	}
	return s
}

// describe says what a type wants, with an example where that helps.
func describe(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[netip.Addr]():
		return "an address such as 192.0.2.1"
	case reflect.TypeFor[netip.Prefix]():
		return "a prefix such as 192.0.2.0/24"
	case reflect.TypeFor[netip.AddrPort]():
		return "an address and port such as 192.0.2.1:1812"
	case reflect.TypeFor[Duration](), typeDuration:
		return "a duration such as 200ms, 1s or 10m"
	case reflect.TypeFor[Bytes]():
		return "a size such as 512, 64KiB or 8MiB"
	case reflect.TypeFor[BitRate]():
		return "a rate such as 54Mb/s"
	case reflect.TypeFor[HexBytes]():
		return "octets in hexadecimal such as 0a1b2c"
	case typeFile, typeSecretFile:
		return "a file name"
	case typePath:
		return "a path"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return describe(t.Elem())
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "keys with values"
	}
	return "a value"
}

// explain turns the terse errors of netip into sentences; our own types say
// enough themselves.
func explain(t reflect.Type, text string, err error) error {
	switch t {
	case reflect.TypeFor[netip.Addr](), reflect.TypeFor[netip.Prefix](), reflect.TypeFor[netip.AddrPort]():
		return fmt.Errorf("expected %s, found %q", describe(t), shorten(text))
	}
	return err
}
