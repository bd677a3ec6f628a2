package radius

// The generator is that of the module whose dictionaries are used.
//
//go:generate go run layeh.com/radius/cmd/radius-dict-gen -package radius -output dictionary_generated.go -ref Service-Type:layeh.com/radius/rfc2865 dictionary.openmpa
