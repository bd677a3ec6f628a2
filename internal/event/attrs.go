package event

import (
	"encoding"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"time"
)

// badKey is the key of a value that has none, as in slog.
const badKey = "!BADKEY"

// collect turns key, value pairs (or slog.Attr) into a map of values that JSON
// can carry and that share no memory with the caller.
func collect(args []any) map[string]any {
	if len(args) == 0 {
		return nil
	}
	out := make(map[string]any, (len(args)+1)/2)
	for i := 0; i < len(args); i++ {
		switch a := args[i].(type) {
		case slog.Attr:
			out[a.Key] = plain(a.Value)
		case string:
			if i+1 == len(args) {
				out[badKey] = a
				break
			}
			i++
			out[a] = plain(slog.AnyValue(args[i]))
		default:
			out[badKey] = plain(slog.AnyValue(a))
		}
	}
	return out
}

// plain reduces a value to strings, numbers, booleans, lists and maps. Durations
// become milliseconds, times RFC 3339 text, octets hexadecimal digits, errors their text.
func plain(v slog.Value) any {
	v = v.Resolve()
	switch v.Kind() {
	case slog.KindBool, slog.KindInt64, slog.KindUint64, slog.KindString:
		return v.Any()
	case slog.KindFloat64:
		if f := v.Float64(); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Sprint(f) // JSON has no such numbers
		}
		return v.Any()
	case slog.KindDuration:
		return milliseconds(v.Duration())
	case slog.KindTime:
		return v.Time().Format(time.RFC3339Nano)
	case slog.KindGroup:
		m := make(map[string]any)
		for _, a := range v.Group() {
			m[a.Key] = plain(a.Value)
		}
		return m
	}
	switch x := v.Any().(type) {
	case nil:
		return nil
	case json.Marshaler:
		return viaJSON(x)
	case encoding.TextMarshaler:
		if text, err := x.MarshalText(); err == nil {
			return string(text)
		}
		return fmt.Sprint(x)
	case error:
		return x.Error()
	case fmt.Stringer:
		return x.String()
	case []byte:
		return hex.EncodeToString(x)
	default:
		return viaJSON(x)
	}
}

// viaJSON copies x by writing and reading it.
func viaJSON(x any) any {
	text, err := json.Marshal(x)
	if err != nil {
		return fmt.Sprint(x)
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		return fmt.Sprint(x)
	}
	return out
}

// merge returns the union of a and b, b winning, sharing neither map when both have entries.
func merge(a, b map[string]any) map[string]any {
	switch {
	case len(a) == 0:
		return b
	case len(b) == 0:
		return a
	}
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}
