//! The number of core instances in an instance of a component, which wasmtime does not tell.

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef,
    Encoding, Instance, Parser, Payload,
};

use super::engine::MAX_CORE_INSTANCES;

/// A component, as far as it was read.
#[derive(Default)]
struct Scope {
    /// The core instances that an instance of it has so far.
    count: u32,
    /// The core instances of an instance of each component in its index space.
    components: Vec<u32>,
}

/// Counts the core instances that an instance of a valid component has, with those of the components in it: never
/// too few, as far as wasmtime allows them at all. Between two components wasmtime adds one that adapts calls.
pub(super) fn core_instances(component: &[u8]) -> u32 {
    count(component).unwrap_or(MAX_CORE_INSTANCES).min(MAX_CORE_INSTANCES)
}

/// `None` if it can't be read.
fn count(component: &[u8]) -> Option<u32> {
    let mut scopes: Vec<Scope> = Vec::new();
    // The end of a module in a component is not that of a component.
    let mut kinds = Vec::new();
    for payload in Parser::new(0).parse_all(component) {
        match payload.ok()? {
            Payload::Version { encoding, .. } => {
                kinds.push(encoding);
                if encoding == Encoding::Component {
                    scopes.push(Scope::default());
                }
            }
            Payload::End(_) => {
                let kind = kinds.pop()?;
                if kind == Encoding::Component {
                    let inner = scopes.pop()?;
                    match scopes.last_mut() {
                        Some(outer) => outer.components.push(inner.count),
                        None => return Some(inner.count),
                    }
                }
            }
            Payload::InstanceSection(instances) => {
                for instance in instances {
                    if let Instance::Instantiate { .. } = instance.ok()? {
                        scopes.last_mut()?.add(1);
                    }
                }
            }
            Payload::ComponentInstanceSection(instances) => {
                for instance in instances {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance.ok()? {
                        let scope = scopes.last_mut()?;
                        let inner = scope.component(component_index)?;
                        scope.add(inner.saturating_add(u32::from(inner > 0)));
                    }
                }
            }
            Payload::ComponentAliasSection(aliases) => {
                for alias in aliases {
                    let aliased = match alias.ok()? {
                        ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                            let outer = scopes.len().checked_sub(1 + usize::try_from(count).ok()?)?;
                            Some(scopes[outer].component(index)?)
                        }
                        // That would take following what instances export: as many as there can be.
                        ComponentAlias::InstanceExport { kind: ComponentExternalKind::Component, .. } => {
                            Some(MAX_CORE_INSTANCES)
                        }
                        _ => None,
                    };
                    scopes.last_mut()?.components.extend(aliased);
                }
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports {
                    if let ComponentTypeRef::Component(_) = import.ok()?.ty {
                        scopes.last_mut()?.components.push(MAX_CORE_INSTANCES);
                    }
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports {
                    let export = export.ok()?;
                    if export.kind == ComponentExternalKind::Component {
                        let scope = scopes.last_mut()?;
                        // An export has an index of its own.
                        scope.components.push(scope.component(export.index)?);
                    }
                }
            }
            _ => {}
        }
    }
    None
}

impl Scope {
    fn add(&mut self, more: u32) {
        self.count = self.count.saturating_add(more);
    }

    fn component(&self, index: u32) -> Option<u32> {
        self.components.get(usize::try_from(index).ok()?).copied()
    }
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{Alias, ComponentBuilder, ComponentExportKind, Module};

    use super::*;
    use crate::wasm::testing::{component, function};

    const NONE: [(&str, ComponentExportKind, u32); 0] = [];

    fn with_instances(count: u32) -> ComponentBuilder {
        let mut builder = ComponentBuilder::default();
        let module = builder.core_module(None, &Module::new());
        for _ in 0..count {
            builder.core_instantiate(None, module, []);
        }
        builder
    }

    #[test]
    fn core_instances_are_counted_in_all_components() {
        assert_eq!(core_instances(&with_instances(0).finish()), 0);
        assert_eq!(core_instances(&with_instances(5).finish()), 5);
        // One for the functions of the root, one for those of the interface, and what adapts between the two.
        let ordinary =
            component(&[], &[function("f", [], None)], &[("a:b/c", vec![function("g", [], None)])]);
        assert_eq!(core_instances(&ordinary), 3);

        let mut outer = with_instances(1);
        let inner = outer.component(None, with_instances(4));
        for _ in 0..3 {
            outer.instantiate(None, inner, NONE);
        }
        let mut middle = ComponentBuilder::default();
        let kind = wasm_encoder::ComponentOuterAliasKind::Component;
        let aliased = middle.alias(None, Alias::Outer { kind, count: 1, index: inner });
        middle.instantiate(None, aliased, NONE);
        let middle = outer.component(None, middle);
        outer.instantiate(None, middle, NONE);
        let exported = outer.export("again", ComponentExportKind::Component, inner, None);
        outer.instantiate(None, exported, NONE);
        assert_eq!(core_instances(&outer.finish()), 1 + 3 * 5 + 6 + 5);
    }

    #[test]
    fn components_in_components_without_end_are_as_many_as_there_may_be() {
        let mut bomb = with_instances(1);
        for _ in 0..50 {
            let mut outer = ComponentBuilder::default();
            let inner = outer.component(None, bomb);
            outer.instantiate(None, inner, NONE);
            outer.instantiate(None, inner, NONE);
            bomb = outer;
        }
        assert_eq!(core_instances(&bomb.finish()), MAX_CORE_INSTANCES);
        assert_eq!(core_instances(b"\0asm"), MAX_CORE_INSTANCES);
    }
}
