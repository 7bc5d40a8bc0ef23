package resource

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/policy/strict"
)

// Load reads every .yaml, .yml and .json file of a directory and those below
// it, or one file. Hidden files and directories are left out. File names in
// the resources are relative to the directory. The resources are sorted by
// key; an error is Problems of all files.
func Load(dir string) ([]events.Resource, error) {
	docs, err := LoadDocuments(dir)
	if err != nil {
		return nil, err
	}
	resources := make([]events.Resource, len(docs))
	for i, d := range docs {
		resources[i] = d.Resource
	}
	return resources, nil
}

// Document is a resource together with where its fields were written.
type Document struct {
	Resource events.Resource
	root     *strict.Node
}

// Position is the line and column of a field, or of the nearest thing around
// it that was written. Steps are field names and places in lists.
func (d *Document) Position(steps ...any) (line, column int) {
	return d.root.Position(steps)
}

// LoadDocuments is Load, and keeps the positions.
func LoadDocuments(dir string) ([]Document, error) {
	files, err := list(dir)
	if err != nil {
		return nil, fmt.Errorf("reading policies: %w", err)
	}
	var docs []Document
	var problems Problems
	for _, f := range files {
		text, err := os.ReadFile(f.path)
		if err != nil {
			return nil, fmt.Errorf("reading policies: %w", err)
		}
		found, wrong := read(f.name, text)
		docs, problems = append(docs, found...), append(problems, wrong...)
	}
	slices.SortStableFunc(docs, func(a, b Document) int { return Compare(a.Resource.ResourceKey, b.Resource.ResourceKey) })
	for i := 1; i < len(docs); i++ {
		if first, again := &docs[i-1].Resource, &docs[i].Resource; first.ResourceKey == again.ResourceKey {
			problems = append(problems, Problem{File: again.File, Line: again.Line, Column: 1,
				Message: fmt.Sprintf("%s is already written at %s:%d", again.ResourceKey, first.File, first.Line), Instead: "remove one of them, or rename it"})
		}
	}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return docs, nil
}

// Compare orders keys by kind, namespace and name.
func Compare(a, b events.ResourceKey) int {
	if c := strings.Compare(a.Kind, b.Kind); c != 0 {
		return c
	}
	if c := strings.Compare(a.Namespace, b.Namespace); c != 0 {
		return c
	}
	return strings.Compare(a.Name, b.Name)
}

type file struct{ path, name string }

func list(dir string) ([]file, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []file{{dir, filepath.Base(dir)}}, nil
	}
	var files []file
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path != dir && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case d.IsDir():
			return nil
		}
		switch filepath.Ext(path) {
		case ".yaml", ".yml", ".json":
			name, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			files = append(files, file{path, filepath.ToSlash(name)})
		}
		return nil
	})
	return files, err
}

// Read is Load of one file's text.
func Read(name string, text []byte) ([]events.Resource, error) {
	docs, problems := read(name, text)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	resources := make([]events.Resource, len(docs))
	for i, d := range docs {
		resources[i] = d.Resource
	}
	return resources, nil
}

func read(name string, text []byte) ([]Document, Problems) {
	roots, problems := strict.Parse(text)
	var docs []Document
	for _, root := range roots {
		found, wrong := document(root, false)
		docs, problems = append(docs, found...), append(problems, wrong...)
	}
	for i := range problems {
		problems[i].File = name
	}
	for i := range docs {
		docs[i].Resource.File = name
	}
	return docs, problems
}

// document reads one YAML document. It may be a list of resources, as a
// resource of its own kind or bare, both of which calicoctl takes.
func document(root *strict.Node, inList bool) ([]Document, Problems) {
	kind := root.Text("kind")
	switch items := root.Get("items"); {
	case inList:
	case items != nil && strings.HasSuffix(kind, "List"):
		return documents(items.List())
	case len(root.List()) > 0:
		return documents(root.List())
	}
	fail := func(field, message, instead string) ([]Document, Problems) {
		p := Problem{Field: field, Message: message, Instead: instead}
		var path strict.Path
		if field != "" {
			path = strict.Path{field}
		}
		p.Line, p.Column = root.Position(path)
		return nil, Problems{p}
	}
	if !root.IsMap() {
		return fail("", "not a resource", "write a map with apiVersion, kind, metadata and spec")
	}
	t := blank(kind)
	switch {
	case t == nil && root.Get("kind") == nil:
		return fail("", "no kind", "write one of "+strings.Join(Kinds, ", "))
	case refusedKinds[kind] != "":
		message, instead := noKind(kind)
		return fail("kind", message, instead)
	}
	if message, instead := foreign(kind, root.Text("apiVersion")); message != "" {
		return fail("apiVersion", message, instead)
	}
	if t == nil {
		message, instead := noKind(kind)
		return fail("kind", message, instead)
	}
	if problems := root.Decode(t, refused); len(problems) > 0 {
		return nil, problems
	}
	c := checker{written: true}
	t.check(&c)
	if len(c.issues) > 0 {
		return nil, root.Place(c.issues)
	}
	body, err := json.Marshal(t)
	if err != nil {
		return fail("", err.Error(), "")
	}
	line, _ := root.Position(nil)
	doc := Document{events.Resource{ResourceKey: t.Key(), Line: line, Body: body}, root}
	if p, ok := t.(*Policy); ok && len(p.Spec.Ingress)+len(p.Spec.Egress) > 0 {
		doc.Resource.Lines = &events.RuleLines{
			Ingress: doc.lines("ingress", len(p.Spec.Ingress)),
			Egress:  doc.lines("egress", len(p.Spec.Egress)),
		}
	}
	return []Document{doc}, nil
}

// documents reads the resources of a list.
func documents(items []*strict.Node) (docs []Document, problems Problems) {
	for _, item := range items {
		found, wrong := document(item, true)
		docs, problems = append(docs, found...), append(problems, wrong...)
	}
	return docs, problems
}

// lines are the lines of the rules of a list.
func (d *Document) lines(list string, n int) []int {
	lines := make([]int, n)
	for i := range lines {
		lines[i], _ = d.Position("spec", list, i)
	}
	return lines
}
