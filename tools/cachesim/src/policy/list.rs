//! Doubly linked lists of objects, which are numbers: links lie in a table, so that any object can be unlinked.

const NONE: u32 = u32::MAX;

/// An object's place: its neighbours in the list that it is in, one at most, and what it costs.
#[derive(Clone, Copy, Debug)]
struct Place {
    newer: u32,
    older: u32,
    cost: u64,
}

/// The places of all objects.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<Place>);

/// Objects from the newest to the oldest.
#[derive(Debug)]
pub(super) struct List {
    newest: u32,
    oldest: u32,
    /// What they cost together.
    pub(super) cost: u64,
}

impl Default for List {
    fn default() -> List {
        List {
            newest: NONE,
            oldest: NONE,
            cost: 0,
        }
    }
}

fn some(object: u32) -> Option<u32> {
    (object != NONE).then_some(object)
}

impl List {
    pub(super) fn push(&mut self, places: &mut Places, object: u32, cost: u64) {
        let index = object as usize;
        if places.0.len() <= index {
            let vacant = Place {
                newer: NONE,
                older: NONE,
                cost: 0,
            };
            places.0.resize(index + 1, vacant);
        }
        places.0[index] = Place {
            newer: NONE,
            older: self.newest,
            cost,
        };
        match some(self.newest) {
            Some(newest) => places.0[newest as usize].newer = object,
            None => self.oldest = object,
        }
        self.newest = object;
        self.cost += cost;
    }

    /// Takes an object out of the list, which it must be in, and returns what it costs.
    pub(super) fn remove(&mut self, places: &mut Places, object: u32) -> u64 {
        let Place { newer, older, cost } = places.0[object as usize];
        match some(newer) {
            Some(newer) => places.0[newer as usize].older = older,
            None => self.newest = older,
        }
        match some(older) {
            Some(older) => places.0[older as usize].newer = newer,
            None => self.oldest = newer,
        }
        self.cost -= cost;
        cost
    }

    pub(super) fn renew(&mut self, places: &mut Places, object: u32) {
        let cost = self.remove(places, object);
        self.push(places, object, cost);
    }

    pub(super) fn oldest(&self) -> Option<u32> {
        some(self.oldest)
    }
}

impl Places {
    pub(super) fn newer(&self, object: u32) -> Option<u32> {
        some(self.0[object as usize].newer)
    }
}
