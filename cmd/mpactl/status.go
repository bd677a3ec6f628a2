package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"openmpa/internal/control"
)

type (
	statusCmd    struct{}
	resourcesCmd struct{}
)

// Run prints what the daemons say of themselves.
func (statusCmd) Run(a *app) error {
	return a.tell(func(ctx context.Context, c *control.Client, into *json.RawMessage) error { return c.Status(ctx, into) })
}

// Run prints what the daemons take.
func (resourcesCmd) Run(a *app) error {
	return a.tell(func(ctx context.Context, c *control.Client, into *json.RawMessage) error {
		r, err := c.Resources(ctx)
		if err == nil {
			*into, err = json.Marshal(r)
		}
		return err
	})
}

// tell prints what each daemon answers to a question.
func (a *app) tell(ask func(ctx context.Context, c *control.Client, into *json.RawMessage) error) error {
	all := map[string]json.RawMessage{}
	first := true
	err := a.each(func(ctx context.Context, c *control.Client) error {
		var raw json.RawMessage
		if err := ask(ctx, c, &raw); err != nil {
			return err
		}
		if a.cli.JSON {
			all[c.Path()] = raw
			return nil
		}
		if !first {
			fmt.Fprintln(a.stdout)
		}
		first = false
		fmt.Fprintf(a.stdout, "%s (%s)\n", nameOf(c), c.Path())
		return writeValue(a.stdout, raw)
	})
	if err == nil && a.cli.JSON {
		return writeJSON(a.stdout, all)
	}
	return err
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// writeValue prints a JSON object as aligned keys and values in its own order,
// what is nested indented below its key.
func writeValue(w io.Writer, raw json.RawMessage) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if err := writeNext(tw, dec, "", 1); err != nil {
		return fmt.Errorf("the status is not what JSON looks like: %w", err)
	}
	return tw.Flush()
}

// writeNext prints the decoder's next value under a label ("" for the top).
func writeNext(w io.Writer, dec *json.Decoder, label string, depth int) error {
	tok, err := dec.Token()
	if err != nil {
		return err
	}
	indent := strings.Repeat("  ", depth)
	delim, ok := tok.(json.Delim)
	if !ok {
		if tok == nil {
			tok = "-"
		}
		_, err := fmt.Fprintf(w, "%s%s\t%s\n", indent, label, clean(fmt.Sprint(tok)))
		return err
	}
	if !dec.More() {
		if label != "" {
			fmt.Fprintf(w, "%s%s\tnone\n", indent, label)
		}
		_, err := dec.Token()
		return err
	}
	if label != "" {
		fmt.Fprintf(w, "%s%s\t\n", indent, label)
		depth++
	}
	for i := 1; dec.More(); i++ {
		name := fmt.Sprint(i)
		if delim == '{' {
			key, err := dec.Token()
			if err != nil {
				return err
			}
			name = strings.ReplaceAll(clean(fmt.Sprint(key)), "_", " ")
		}
		if err := writeNext(w, dec, name, depth); err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}

// clean keeps what came from elsewhere from steering the terminal or the table.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}
