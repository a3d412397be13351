//! What is kept night by night, in pages of some nights each.

use super::Shared;

/// Pages by their number, in order; most stand side by side. Clones share the pages.
#[derive(Debug)]
pub struct Pages<T: ?Sized>(Vec<(i32, Shared<T>)>);

impl<T: ?Sized> Clone for Pages<T> {
    fn clone(&self) -> Pages<T> {
        Pages(self.0.clone())
    }
}

impl<T: ?Sized> Default for Pages<T> {
    fn default() -> Pages<T> {
        Pages(Vec::new())
    }
}

impl<T: ?Sized> Pages<T> {
    pub fn get(&self, page: i32) -> Option<&T> {
        self.find(page).ok().map(|at| &*self.0[at].1)
    }

    /// The page for writing to, which its owner makes its own first. One that is not there is made.
    pub fn get_or_insert_with(&mut self, page: i32, make: impl FnOnce() -> Shared<T>) -> &mut Shared<T> {
        let at = self.find(page).unwrap_or_else(|at| {
            self.0.insert(at, (page, make()));
            at
        });
        &mut self.0[at].1
    }

    /// The pages from this one on, in order.
    pub fn from(&self, page: i32) -> impl Iterator<Item = (i32, &T)> {
        let first = self.find(page).unwrap_or_else(|at| at);
        self.0[first..].iter().map(|(page, content)| (*page, &**content))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Shared<T>> {
        self.0.iter_mut().map(|(_, content)| content)
    }

    /// Where the page is, or would be. Hardly ever does one lack between others: then it is where its number says.
    #[inline]
    fn find(&self, page: i32) -> Result<usize, usize> {
        let first = self.0.first().map_or(0, |(first, _)| *first);
        let guess = i64::from(page) - i64::from(first);
        match usize::try_from(guess).ok().and_then(|guess| self.0.get(guess)) {
            Some((found, _)) if *found == page => Ok(guess as usize),
            _ => self.0.binary_search_by_key(&page, |(page, _)| *page),
        }
    }
}
