package server

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxUsersFile = 64 << 20
	maxUserLine  = 4 << 10
	usersLook    = time.Second // between two looks whether the file has changed
)

// Methods are the names of the methods in configurations and in the file of users.
var Methods = []string{"tls", "ttls", "peap"}

// User is one line of the file of users, as a JSON object. Lines that are empty or
// begin with # are passed over, and kept.
type User struct {
	Name     string   `json:"name"`              // a NAI such as mn@home.example, which the method authenticates
	Password Password `json:"password,omitzero"` // empty: none, a certificate only
	Methods  []string `json:"methods,omitempty"` // of Methods; empty: all that the server has
	Session  string   `json:"session,omitzero"`  // how long a session lasts, as 30m; empty: as the server has it
	Blocked  bool     `json:"blocked,omitzero"`  // refused whatever it shows, a certificate too
}

func (u User) life() time.Duration {
	d, _ := time.ParseDuration(u.Session) // check has seen it
	return d
}

// allows says whether the user may use that method.
func (u User) allows(method string) bool {
	return !u.Blocked && (len(u.Methods) == 0 || slices.Contains(u.Methods, method))
}

func (u User) check() error {
	if u.Name == "" || len(u.Name) > 253 || strings.ContainsFunc(u.Name, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }) {
		return fmt.Errorf("name %q, expected 1 to 253 octets of UTF-8", u.Name)
	}
	for _, m := range u.Methods {
		if !slices.Contains(Methods, m) {
			return fmt.Errorf("user %s: method %q, expected %s", u.Name, m, strings.Join(Methods, ", "))
		}
	}
	if u.Session != "" {
		if d, err := time.ParseDuration(u.Session); err != nil || d < time.Second {
			return fmt.Errorf("user %s: session %q, expected a duration such as 30m", u.Name, u.Session)
		}
	}
	if err := u.Password.check(); err != nil {
		return fmt.Errorf("user %s: %w", u.Name, err)
	}
	return nil
}

// canonical is how names are compared: the realm in lower case.
func canonical(name string) string {
	at := strings.LastIndexByte(name, '@')
	if at < 0 {
		return name
	}
	return name[:at] + strings.ToLower(name[at:])
}

// Users is a file of users that is read again when it has changed. A nil one has
// nobody.
type Users struct {
	// fixed
	path string
	log  *slog.Logger

	// guarded by mu
	mu     sync.Mutex
	byName map[string]User
	looked time.Time
	seen   os.FileInfo
}

// OpenUsers reads a file of users, which only its owner may read. A file that is not
// there is an empty one.
func OpenUsers(path string, log *slog.Logger) (*Users, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	u := &Users{path: path, log: log}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u, u.read()
}

// read takes the file if it has changed. On an error nothing is taken.
func (u *Users) read() error {
	u.looked = time.Now()
	st, err := os.Stat(u.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("server: users: %w", err)
	}
	if err == nil && u.seen != nil && os.SameFile(st, u.seen) && st.ModTime().Equal(u.seen.ModTime()) && st.Size() == u.seen.Size() {
		return nil
	}
	list, _, err := readUsers(u.path)
	if err != nil {
		return err
	}
	byName := make(map[string]User, len(list))
	for _, one := range list {
		byName[canonical(one.Name)] = one
	}
	u.byName, u.seen = byName, st
	return nil
}

// Find is the user of that name.
func (u *Users) Find(name string) (User, bool) {
	if u == nil {
		return User{}, false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if since := time.Since(u.looked); since >= usersLook || since < 0 {
		if err := u.read(); err != nil {
			u.log.Error("the file of users has changed, and is not right: what was there before counts", "err", err)
		}
	}
	one, ok := u.byName[canonical(name)]
	return one, ok
}

// readUsers reads the file and keeps its lines as they are; users are in their order.
func readUsers(path string) (list []User, lines []string, err error) {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, nil
	case err != nil:
		return nil, nil, fmt.Errorf("server: users: %w", err)
	case !st.Mode().IsRegular():
		return nil, nil, fmt.Errorf("server: users: %s: expected a regular file, found %s", path, st.Mode().Type())
	case st.Mode().Perm()&0o077 != 0:
		return nil, nil, fmt.Errorf("server: users: %s is open to other users (mode %#o): run chmod 600 %s", path, st.Mode().Perm(), path)
	case st.Size() > maxUsersFile:
		return nil, nil, fmt.Errorf("server: users: %s of %d octets, expected %d at most", path, st.Size(), maxUsersFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("server: users: %w", err)
	}
	defer clear(text)
	seen := map[string]int{}
	scan := bufio.NewScanner(bytes.NewReader(text))
	scan.Buffer(make([]byte, maxUserLine), maxUserLine)
	for n := 1; scan.Scan(); n++ {
		line := scan.Text()
		lines = append(lines, line)
		one, isUser, err := parseUser(line)
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("server: users: %s:%d: %w", path, n, err)
		case !isUser:
			continue
		}
		if before := seen[canonical(one.Name)]; before > 0 {
			return nil, nil, fmt.Errorf("server: users: %s:%d: user %s is in line %d, too", path, n, one.Name, before)
		}
		seen[canonical(one.Name)] = n
		list = append(list, one)
	}
	if err := scan.Err(); err != nil {
		return nil, nil, fmt.Errorf("server: users: %s:%d: %w", path, len(lines)+1, err)
	}
	return list, lines, nil
}

// parseUser reads a line. What is wrong with one is said without the password in it.
func parseUser(line string) (u User, isUser bool, err error) {
	if t := strings.TrimSpace(line); t == "" || t[0] == '#' {
		return User{}, false, nil
	}
	d := json.NewDecoder(strings.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&u); err != nil {
		return User{}, false, fmt.Errorf("expected a JSON object as {\"name\": \"mn@home.example\", \"password\": \"nt:...\"}: %w", err)
	}
	if d.More() {
		return User{}, false, errors.New("expected one JSON object a line, found more")
	}
	return u, true, u.check()
}

// ListUsers reads the file of users.
func ListUsers(path string) ([]User, error) {
	list, _, err := readUsers(path)
	return list, err
}

// AddUser puts a user into the file, in place of the one of that name with replace. The
// file is made if it is not there.
func AddUser(path string, u User, replace bool) error {
	if err := u.check(); err != nil {
		return fmt.Errorf("server: %w", err)
	}
	text, err := json.Marshal(u)
	if err != nil {
		return fmt.Errorf("server: users: %w", err)
	}
	return changeUsers(path, func(lines []string) ([]string, error) {
		at := userLine(lines, u.Name)
		switch {
		case at < 0:
			return append(lines, string(text)), nil
		case !replace:
			return nil, fmt.Errorf("server: users: %s has %s already: say --replace", path, u.Name)
		}
		lines[at] = string(text)
		return lines, nil
	})
}

// RemoveUser takes a user out of the file.
func RemoveUser(path, name string) error {
	return changeUsers(path, func(lines []string) ([]string, error) {
		at := userLine(lines, name)
		if at < 0 {
			return nil, fmt.Errorf("server: users: %s has no %s", path, name)
		}
		return slices.Delete(lines, at, at+1), nil
	})
}

func userLine(lines []string, name string) int {
	return slices.IndexFunc(lines, func(line string) bool {
		u, isUser, err := parseUser(line)
		return err == nil && isUser && canonical(u.Name) == canonical(name)
	})
}

// changeUsers replaces the file as a whole, while nobody else does.
func changeUsers(path string, change func(lines []string) ([]string, error)) error {
	dir := &State{dir: filepath.Dir(path)}
	return dir.locked(func() error {
		_, lines, err := readUsers(path)
		if err != nil {
			return err
		}
		if lines, err = change(lines); err != nil {
			return err
		}
		text := []byte(strings.Join(append(lines, ""), "\n"))
		defer clear(text)
		return writeFile(dir.dir, filepath.Base(path), 0o600, text)
	})
}
