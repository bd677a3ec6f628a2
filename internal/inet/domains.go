package inet

// Domains reads names in the form of DNS (RFC 1035 section 3.1), one behind another, as the domain search lists of DHCP have
// them: those of DHCPv4 with compression (RFC 3397), those of DHCPv6 without. It returns the first most of them that are names
// of hosts, without the dot behind; it ends at what is malformed.
func Domains(raw []byte, most int) (names []string) {
	for at := 0; at < len(raw) && len(names) < most; {
		name, next, ok := domain(raw, at)
		if !ok {
			break
		}
		at = next
		if Domain(name) {
			names = append(names, name)
		}
	}
	return names
}

// maxDomain is how long a name is at most, in characters.
const maxDomain = 253

// domain reads one name, at an offset. A pointer goes back only: so it ends.
func domain(raw []byte, at int) (name string, next int, ok bool) {
	for low := at; ; {
		if at >= len(raw) {
			return "", 0, false
		}
		n := int(raw[at])
		switch {
		case n == 0:
			return name, max(next, at+1), true
		case n >= 0xc0:
			if at+1 >= len(raw) {
				return "", 0, false
			}
			next = max(next, at+2)
			if at = n&0x3f<<8 | int(raw[at+1]); at >= low {
				return "", 0, false
			}
			low = at
		case n > 63 || at+1+n > len(raw) || len(name)+1+n > maxDomain:
			return "", 0, false
		default:
			if name != "" {
				name += "."
			}
			name += string(raw[at+1 : at+1+n])
			at += 1 + n
		}
	}
}

// Domain says whether s may be the name of a host or a domain: letters, digits, hyphens and dots (RFC 1123 section 2.1).
func Domain(s string) bool {
	label := 0
	for i, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '-' && label > 0:
		case c == '.' && label > 0 && s[i-1] != '-':
			label = -1
		default:
			return false
		}
		if label++; label > 63 {
			return false
		}
	}
	return label > 0 && s[len(s)-1] != '-' && len(s) <= maxDomain
}
