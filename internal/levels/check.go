package levels

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Package is a package of the module: its path below the module's, "" for the
// root, and its files.
type Package struct {
	Path  string
	Files []File
}

// File is a source file with the paths it imports.
type File struct {
	Name    string
	Imports []string
	Net     []string // the names of package net it uses, when it imports that
}

// Check returns what the packages of a module do against the table, sorted, a
// sentence each. Nil is fine.
func Check(module string, packages []Package) []string {
	var found []string
	for _, p := range packages {
		room, ok := roomOf(p.Path)
		if !ok {
			found = append(found, fmt.Sprintf("%s is in no room: add its room to internal/levels/table.go, at the level the architecture gives it", orRoot(p.Path)))
			continue
		}
		for _, f := range p.Files {
			for _, imp := range f.Imports {
				if why := judge(module, p.Path, room, f, imp); why != "" {
					found = append(found, fmt.Sprintf("%s imports %s: %s", path.Join(p.Path, f.Name), imp, why))
				}
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// judge returns why the import is wrong, or nothing.
func judge(module, pkg, room string, file File, imp string) string {
	test := strings.HasSuffix(file.Name, "_test.go") || isTestHelper(pkg)
	if local, ok := strings.CutPrefix(imp, module+"/"); ok {
		return judgeLocal(pkg, room, local, test)
	}
	first, _, _ := strings.Cut(imp, "/")
	if !strings.Contains(first, ".") {
		return judgeStandard(room, file, imp, test)
	}
	return judgeThirdParty(room, imp, test)
}

func judgeLocal(pkg, room, local string, test bool) string {
	target, ok := roomOf(local)
	switch {
	case !ok:
		return "it is in no room"
	case test:
		return ""
	case isTestHelper(local):
		return "it is a helper for tests"
	case target == "testbed" && room != "testbed" && room != "cmd/mpa-lab":
		return "testbed is for cmd/mpa-lab and tests only"
	case strings.HasPrefix(target, "cmd/") && target != room:
		return "a main is imported by nobody"
	}
	for _, s := range strangers {
		if within(pkg, s[0]) && within(local, s[1]) || within(pkg, s[1]) && within(local, s[0]) {
			return fmt.Sprintf("%s and %s never import each other: the user declares an interface, a main joins them", s[0], s[1])
		}
	}
	if room == target || rooms[room] == lab || rooms[target] < rooms[room] {
		return ""
	}
	return fmt.Sprintf("an arrow that does not point down: %s is level %d, %s is level %d", room, rooms[room], target, rooms[target])
}

func judgeStandard(room string, file File, imp string, test bool) string {
	if test || rooms[room] > pure || !slices.Contains(outside, imp) || strings.HasPrefix(file.Name, "runner") {
		return ""
	}
	if imp == "net" {
		for _, name := range file.Net {
			if !slices.Contains(netValues, name) {
				return fmt.Sprintf("cores have no I/O: at this level net.%s belongs in a file named runner", name)
			}
		}
		return ""
	}
	if _, ok := outsideAllowed[room+" "+imp]; ok {
		return ""
	}
	return "cores have no I/O: at this level it belongs in a file named runner"
}

func judgeThirdParty(room, imp string, test bool) string {
	for _, lib := range testLibraries {
		if within(imp, lib) {
			if test {
				return ""
			}
			return "it is a library for tests"
		}
	}
	for name, e := range extensions {
		if within(imp, name) {
			if test || rooms[room] >= e.from || slices.Contains(e.also, room) {
				return ""
			}
			return fmt.Sprintf("allowed from level %d on, %s is level %d", e.from, room, rooms[room])
		}
	}
	best := ""
	for name := range thirdParties {
		if within(imp, name) && len(name) > len(best) {
			best = name
		}
	}
	switch {
	case best == "":
		return "no room is given for it: add it to internal/levels/table.go"
	case slices.Contains(thirdParties[best], room):
		return ""
	}
	return fmt.Sprintf("a third party outside its room: allowed in %s", strings.Join(thirdParties[best], ", "))
}

// roomOf returns the room of a package: the longest of the table that it is in.
func roomOf(pkg string) (string, bool) {
	for p := pkg; p != "." && p != ""; p = path.Dir(p) {
		if _, ok := rooms[p]; ok {
			return p, true
		}
	}
	return "", false
}

// isTestHelper says whether a package is named for tests, as in osnettest.
func isTestHelper(pkg string) bool {
	base := path.Base(pkg)
	return strings.HasSuffix(base, "test") && base != "test"
}

func within(pkg, tree string) bool { return pkg == tree || strings.HasPrefix(pkg, tree+"/") }

func orRoot(pkg string) string {
	if pkg == "" {
		return "the module's root"
	}
	return pkg
}
