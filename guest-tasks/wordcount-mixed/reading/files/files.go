// Package files has a function for each task that wit/world.wit declares.
package files

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	wit "go.bytecodealliance.org/pkg/wit/types"
)

var textExtensions = []string{".md", ".txt", ".rs", ".toml", ".wit"}

func TextFiles(directory string) wit.Result[[]string, string] {
	files := []string{}
	err := filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		isLeftOut := path != directory && (strings.HasPrefix(name, ".") || name == "target")
		switch {
		case isLeftOut && entry.IsDir():
			return filepath.SkipDir
		case !isLeftOut && entry.Type().IsRegular() && slices.Contains(textExtensions, filepath.Ext(name)):
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		return wit.Err[[]string, string](fmt.Sprintf("failed to list `%s`: %v", directory, err))
	}
	return wit.Ok[[]string, string](files)
}

func Read(path string) wit.Result[string, string] {
	text, err := os.ReadFile(path)
	if err != nil {
		return wit.Err[string, string](fmt.Sprintf("failed to read `%s`: %v", path, err))
	}
	return wit.Ok[string, string](strings.ToValidUTF8(string(text), "\uFFFD"))
}
