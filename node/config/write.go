package config

import (
	"io"
	"reflect"

	"go.yaml.in/yaml/v3"
)

// Write writes what c has other than the defaults as YAML that Decode reads, each key with what it
// means. Secrets are written as they are.
func (c Config) Write(w io.Writer) error {
	root := &yaml.Node{Kind: yaml.MappingNode}
	defaults := reflect.ValueOf(Default())
	for section, v := range reflect.ValueOf(c).Fields() {
		keys, err := changed(v, defaults.FieldByIndex(section.Index))
		if err != nil {
			return err
		}
		if len(keys.Content) > 0 {
			root.Content = append(root.Content, scalar(section.Tag.Get("yaml")), keys)
		}
	}
	if len(root.Content) == 0 {
		return nil
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	if err := e.Encode(root); err != nil {
		return err
	}
	return e.Close()
}

// changed are the fields of v which are not those of base.
func changed(v, base reflect.Value) (*yaml.Node, error) {
	keys := &yaml.Node{Kind: yaml.MappingNode}
	for field, value := range v.Fields() {
		if reflect.DeepEqual(value.Interface(), base.FieldByIndex(field.Index).Interface()) {
			continue
		}
		key, node := scalar(field.Tag.Get("yaml")), new(yaml.Node)
		key.HeadComment = field.Tag.Get("doc")
		var err error
		if list, ok := value.Interface().([]Backend); ok {
			node, err = backends(list)
		} else {
			err = node.Encode(value.Interface())
		}
		if err != nil {
			return nil, err
		}
		keys.Content = append(keys.Content, key, node)
	}
	return keys, nil
}

// backends leaves out what a Nextcloud does not have.
func backends(list []Backend) (*yaml.Node, error) {
	items := &yaml.Node{Kind: yaml.SequenceNode}
	for _, b := range list {
		keys, err := changed(reflect.ValueOf(b), reflect.ValueOf(Backend{}))
		if err != nil {
			return nil, err
		}
		for _, key := range keys.Content {
			key.HeadComment = "" // the same for each
		}
		items.Content = append(items.Content, keys)
	}
	return items, nil
}

func scalar(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }
