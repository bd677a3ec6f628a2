package manpage

import "testing"

func TestRoff(t *testing.T) {
	p := Page{
		Name: "mpa-x", Section: 8, Summary: "a daemon", Synopsis: "mpa-x [flags]",
		Sections: []Section{
			{Title: "Description", Text: "First.\n\n.so /etc/passwd\nand \\more\n"},
			{Title: "Empty", Text: " \n"},
			{Title: "Flags", Text: "--a  one\n'b' two\n", Literal: true},
		},
	}
	want := `.TH MPA\-X 8
.SH NAME
mpa\-x \- a daemon
.SH SYNOPSIS
.nf
mpa\-x [flags]
.fi
.SH DESCRIPTION
First.
.PP
\&.so /etc/passwd
and \emore
.SH FLAGS
.nf
\-\-a  one
\&'b' two
.fi
`
	if got := p.Roff(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
