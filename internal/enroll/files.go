package enroll

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// File is one to be written, readable by its owner only.
type File struct {
	Path string
	Text []byte
}

// Free says which files are there already.
func Free(files []File) error {
	var there []string
	for _, f := range files {
		if _, err := os.Lstat(f.Path); !errors.Is(err, fs.ErrNotExist) {
			there = append(there, f.Path)
		}
	}
	if len(there) > 0 {
		return fmt.Errorf("%s: there already; nothing was written. --force replaces it", strings.Join(there, ", "))
	}
	return nil
}

// Write writes files, each whole or not at all; unless force is set none may be there.
func Write(files []File, force bool) error {
	if !force {
		if err := Free(files); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := write(f); err != nil {
			return err
		}
	}
	return nil
}

func write(f File) error {
	dir := filepath.Dir(f.Path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	t, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = t.Write(f.Text)
	err = errors.Join(err, t.Sync(), t.Close())
	if err == nil {
		err = os.Rename(t.Name(), f.Path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(t.Name()))
	}
	return nil
}
