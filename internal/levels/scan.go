package levels

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Scan reads the imports of every Go file of the module in the folder root,
// whatever its build constraints, and the module's path. Modules inside it,
// testdata and hidden folders are left out.
func Scan(root string) (module string, packages []Package, err error) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return "", nil, fmt.Errorf("levels: %w", err)
	}
	for line := range strings.Lines(string(mod)) {
		if m, ok := strings.CutPrefix(line, "module "); ok {
			module = strings.TrimSpace(m)
		}
	}
	if module == "" {
		return "", nil, fmt.Errorf("levels: %s/go.mod names no module", root)
	}
	byPath := map[string]*Package{}
	tree := os.DirFS(root)
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return enter(tree, name)
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		file, err := readFile(filepath.Join(root, name))
		if err != nil {
			return err
		}
		dir := strings.TrimPrefix(path.Dir(name), ".")
		if byPath[dir] == nil {
			byPath[dir] = &Package{Path: dir}
		}
		byPath[dir].Files = append(byPath[dir].Files, file)
		return nil
	})
	if err != nil {
		return "", nil, fmt.Errorf("levels: %w", err)
	}
	for _, p := range byPath {
		packages = append(packages, *p)
	}
	slices.SortFunc(packages, func(a, b Package) int { return strings.Compare(a.Path, b.Path) })
	return module, packages, nil
}

// enter says by fs.SkipDir that a folder is not part of the module.
func enter(tree fs.FS, name string) error {
	if name == "." {
		return nil
	}
	base := path.Base(name)
	if base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return fs.SkipDir
	}
	if _, err := fs.Stat(tree, path.Join(name, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func readFile(name string) (File, error) {
	tree, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		return File{}, err
	}
	out := File{Name: filepath.Base(name)}
	for _, spec := range tree.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return File{}, fmt.Errorf("%s: import %s: %w", name, spec.Path.Value, err)
		}
		out.Imports = append(out.Imports, p)
		if p == "net" {
			out.Net = append(out.Net, namesOfNet(tree, spec)...)
		}
	}
	return out, nil
}

// namesOfNet lists what a file uses of package net. A dot import counts as the
// use of everything.
func namesOfNet(tree *ast.File, spec *ast.ImportSpec) []string {
	local := "net"
	if spec.Name != nil {
		local = spec.Name.Name
	}
	if local == "." {
		return []string{"*"}
	}
	var names []string
	ast.Inspect(tree, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == local && !slices.Contains(names, sel.Sel.Name) {
				names = append(names, sel.Sel.Name)
			}
		}
		return true
	})
	return names
}
